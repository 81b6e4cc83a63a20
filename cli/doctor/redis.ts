import { readServerInfo } from '../../shared/cache/connection.ts';
import { type Finding, good, missing, note } from '../../shared/origin/examine/finding.ts';
import { type RedisInfo, readRedisInfo } from '../../shared/queue/redis-info.ts';
import { type Group, lookAt } from './group.ts';
import type { Targets } from './targets.ts';

const OLDEST_MAJOR = 7;

/** Both Redis, each as what it is used for. */
export async function examineRedis({ redisUrl, queueRedisUrl }: Targets): Promise<Group[]> {
  const runIds = new Map<string, string>();
  const look = (
    variable: string,
    url: string | null,
    check: (info: RedisInfo) => Finding[],
  ): Promise<Group> =>
    lookAt(variable === 'REDIS_URL' ? 'Cache Redis' : 'Queue Redis', async () => {
      if (url === null) return [note(`${variable} is not set: a local one is started`)];
      const info = await readRedisInfo(url);
      const other = runIds.get(info.runId);
      runIds.set(info.runId, variable);
      const found = [...check(info), ...(other === undefined ? [] : [sameServer(other)])];
      const isGood = found.every(({ level }) => level === 'note');
      return isGood ? [good(about(info)), ...found] : found;
    });
  return [
    await look('REDIS_URL', redisUrl, checkCache),
    await look('QUEUE_REDIS_URL', queueRedisUrl, checkQueue),
  ];
}

const about = ({ version, evictionPolicy, memoryLimitBytes }: RedisInfo): string =>
  `Redis ${version}, a primary, ${evictionPolicy}, ${memoryLimitBytes === 0 ? 'without a memory limit' : `up to ${Math.round(memoryLimitBytes / 1024 ** 2)} MB`}`;

const sameServer = (other: string): Finding =>
  missing(`it is the same server as that of ${other}`, {
    why: 'The cache may evict, and jobs must never be evicted.',
    mend: 'Run two servers; two databases of one share its memory.',
  });

function checkCache(info: RedisInfo): Finding[] {
  const { problem } = readServerInfo(info.text);
  const found: Finding[] = problem === null ? [] : [missing(problem)];
  if (info.memoryLimitBytes === 0) {
    found.push(
      note('maxmemory is not limited', {
        why: 'It grows until the machine has no memory left.',
        mend: 'CONFIG SET maxmemory 256mb, and the same in its file.',
      }),
    );
  } else if (info.evictionPolicy === 'noeviction') {
    found.push(
      missing('its maxmemory-policy is noeviction', {
        why: 'Once it is full nothing more is cached, and what is there stays for ever.',
        mend: 'CONFIG SET maxmemory-policy allkeys-lfu, and the same in its file.',
      }),
    );
  }
  if (info.hasJournal) {
    found.push(
      note('it keeps a journal (appendonly)', {
        why: 'What it remembers after a restart is not trusted anyway.',
      }),
    );
  }
  return found;
}

function checkQueue(info: RedisInfo): Finding[] {
  const found: Finding[] = [];
  if (info.role !== 'master') found.push(missing(`it is a ${info.role}; a primary is needed`));
  if (Number.parseInt(info.version, 10) < OLDEST_MAJOR) {
    found.push(missing(`it is version ${info.version}; ${OLDEST_MAJOR}.0 or newer is needed`));
  }
  if (info.evictionPolicy !== 'noeviction') {
    found.push(
      missing(`its maxmemory-policy is ${info.evictionPolicy}, noeviction is needed`, {
        why: 'Waiting jobs would vanish without an error.',
        mend: 'CONFIG SET maxmemory-policy noeviction, and the same in its file.',
      }),
    );
  }
  if (!info.hasJournal) {
    found.push(
      note('it keeps no journal (appendonly no)', {
        why: 'A restart forgets the jobs that wait. Freshness does not depend on them.',
      }),
    );
  }
  return found;
}
