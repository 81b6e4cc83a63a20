import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { table } from '../../shared/resources/define.ts';
import { keysOf, rowTag } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { followGap, gapsClosed, warm } from '../support/gap.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { openSwitch, type Switch } from '../support/switch.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** The cache Redis is another one than it was, or lost what says which entries are good. */
describe('a cache that lost its memory, or found an old one', () => {
  let primary: TestServer;
  let replica: TestServer;
  let address: Switch;
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;
  let redis: Redis;
  let other: Redis;

  const inCache = async (): Promise<string | null> => {
    const record = await redis.hgetall(keysOf(world.namespace).row(rowTag('lakes', ['1'])));
    return Object.entries(record).find(([field]) => field.startsWith('b:'))?.[1] ?? null;
  };
  /** A change by somebody else, shown, which means that its fence has removed the old entry. */
  const change = async (name: string): Promise<string> => {
    await world.database.query('update lakes set name = $1 where id = 1', [name]);
    const shown = await eventually(
      name,
      () => api.get('/lakes/1'),
      answer => answer.body.includes(name),
    );
    return shown.body;
  };

  beforeAll(async () => {
    primary = await startRedis('cache');
    replica = await startRedis('cache', {
      settings: { replicaof: `127.0.0.1 ${primary.port}`, masterauth: 'test', 'repl-diskless-sync-delay': 0 },
    });
    address = await openSwitch(primary.port);
    const cacheUrl = primary.url.replace(String(primary.port), String(address.port));
    world = await openWorld({
      schema: `create table lakes (id int primary key, name text);
               insert into lakes values (1, 'Como'), (2, 'Garda')`,
      config: { resources: { lakes: table('lakes', { warmUp: { top: 0 }, rewarm: 'never' }) } },
      cacheUrl,
    });
    redis = new Redis(cacheUrl);
    redis.on('error', () => {});
    other = new Redis(replica.url);
    other.on('error', () => {});
    worker = await world.worker();
    api = await world.api();
  });
  beforeEach(() => world.fresh(api));
  afterAll(async () => {
    redis?.disconnect();
    other?.disconnect();
    await world?.close();
    await address?.close();
    await Promise.all([primary?.stop(), replica?.stop()]);
  });

  test('redis-replaced: killed and started again, empty', async () => {
    await followGap({
      world,
      api,
      path: '/lakes/1',
      cause: 'redis-replaced',
      provoke: async () => {
        await primary.kill();
        await primary.restart();
      },
    });
    expect(gapsClosed(worker).slice(1)).toEqual(['redis-replaced']);
  });

  test('redis-replaced: killed and started again from an older dump, with an entry that was fenced since', async () => {
    const { body: old } = await warm(api, '/lakes/1');
    await redis.save();
    const body = await change('Maggiore');
    await followGap({
      world,
      api,
      path: '/lakes/1',
      cause: 'redis-replaced',
      body,
      provoke: async () => {
        await primary.kill();
        await primary.restart();
        await eventually('the old entry is there again', inCache, seen => seen === old);
      },
    });
  });

  test('control-missing: the record that says which entries are good was evicted', () =>
    followGap({
      world,
      api,
      path: '/lakes/1',
      cause: 'control-missing',
      provoke: () => redis.del(keysOf(world.namespace).control),
    }));

  test('ordered: somebody gave the cache another epoch', () =>
    followGap({
      world,
      api,
      path: '/lakes/1',
      cause: 'ordered',
      provoke: () => world.store.newEpoch(null, []),
    }));

  test('redis-replaced: a replica was promoted that lacks the last fence', async () => {
    const { body: old } = await warm(api, '/lakes/1');
    const tag = keysOf(world.namespace).row(rowTag('lakes', ['1']));
    await eventually(
      'the replica has the entry',
      async () => Object.values(await other.hgetall(tag)),
      values => values.includes(old),
    );
    await other.replicaof('NO', 'ONE');
    const body = await change('Lugano');
    await followGap({
      world,
      api,
      path: '/lakes/1',
      cause: 'redis-replaced',
      body,
      provoke: async () => {
        address.to(replica.port);
        await eventually('the old entry is there again', inCache, seen => seen === old);
      },
    });
  });
});
