import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { beatPrefixes } from '../../workers/feed/beat-prefixes.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { gapsOpened, warm } from '../support/gap.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { untilProvenSince } from '../support/proof.ts';
import { openRawTopic, partitionOfRow, type RawTopic } from '../support/raw-topic.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const PARTITIONS = 4;
/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
/** From the record to a proof that lies behind it. */
const GOES_ON_WITHIN_MS = 5_000;
const MEGABYTE = 1024 * 1024;

/** Records that no connector of ours has written, among those that it has. */
describe('a record that is not what it should be', () => {
  let world: World;
  let topic: RawTopic;
  let api: ApiProcess;
  let worker: TestProcess;
  let epochs: EpochWatch;
  let committedXid: number;

  beforeAll(async () => {
    const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
    world = await openWorld({
      feed: 'kafka',
      kafka: { partitions: PARTITIONS },
      schema: `create table wells (id int primary key, n int not null);
               insert into wells select n, 0 from generate_series(1, 20) n;
               create table mills (id int primary key, n int not null);
               insert into mills values (1, 0);
               create table unserved (id int primary key)`,
      config: defineConfig({ resources: { wells: table('wells', cold), mills: table('mills', cold) } }),
    });
    topic = await openRawTopic(world.kafka!);
    worker = await world.worker();
    api = await world.api();
    const { rows } = await world.database.query('select pg_current_xact_id()::text as xid');
    committedXid = Number(BigInt((rows[0] as { xid: string }).xid) % 2n ** 32n);
  }, kafkaStartLimitMs);
  beforeEach(async () => {
    await world.fresh(api);
    epochs = await watchEpochs(world);
  });
  afterEach(() => epochs?.close());
  afterAll(async () => {
    await topic?.close();
    await world?.close();
  });

  const envelope = (changes: object, source: object = {}): string =>
    JSON.stringify({
      op: 'u',
      before: null,
      after: { id: 1, n: 7 },
      source: {
        connector: 'postgresql',
        name: world.kafka!.names.topicPrefix,
        schema: 'public',
        table: 'wells',
        txId: committedXid,
        lsn: 1,
        ts_ms: 1,
        ...source,
      },
      ...changes,
    });
  const generations = async (): Promise<Record<string, string>> => {
    const { tables } = (await world.store.control())!;
    return Object.fromEntries([...tables.values()].map(({ table: name, generation }) => [name, generation]));
  };
  const letters = async (): Promise<{ place: string; bytes: number }[]> => {
    const { rows } = await world.database.query(
      'select place, length(raw)::int as bytes from freshet.dead_letter order by id',
    );
    return rows as { place: string; bytes: number }[];
  };

  interface Poison {
    readonly what: string;
    readonly value: () => Buffer | string | null;
    readonly key?: string;
    /** Put in doubt as a whole. */
    readonly doubted: readonly ('wells' | 'mills')[];
  }

  const BOTH = ['wells', 'mills'] as const;
  const POISONS: readonly Poison[] = [
    { what: 'no JSON', value: () => '{"before": nul', doubted: BOTH },
    { what: 'JSON of something else', value: () => '[1, 2, 3]', doubted: BOTH },
    { what: '2 MB of rubbish', value: () => Buffer.alloc(2 * MEGABYTE, 0xfe), doubted: BOTH },
    { what: 'an empty value', value: () => '', doubted: BOTH },
    { what: 'an event without a source', value: () => '{"op":"u","after":{"id":1}}', doubted: BOTH },
    { what: 'an event of another connector', value: () => envelope({}, { name: 'stranger' }), doubted: BOTH },
    { what: 'a change of an unknown kind', value: () => envelope({ op: 'x' }), doubted: ['wells'] },
    { what: 'a change without a key', value: () => envelope({ after: { n: 7 } }), doubted: ['wells'] },
    {
      what: 'a change with a key of another type',
      value: () => envelope({ after: { id: 'one' } }),
      doubted: ['wells'],
    },
    {
      what: 'a transaction id that none can be',
      value: () => envelope({}, { txId: 2 ** 63 }),
      doubted: ['wells'],
    },
    { what: 'a transaction id below the first', value: () => envelope({}, { txId: -1 }), doubted: ['wells'] },
    { what: 'a transaction id as text', value: () => envelope({}, { txId: '12' }), doubted: ['wells'] },
    { what: 'no value', value: () => null, key: '{"id":1}', doubted: [] },
    {
      what: 'a change of a table that is not served',
      value: () => envelope({}, { table: 'unserved' }),
      doubted: [],
    },
    {
      what: 'a change of a table that is not there',
      value: () => envelope({}, { table: 'nowhere' }),
      doubted: [],
    },
    { what: 'a change that never was', value: () => envelope({}), doubted: [] },
  ];

  test.each(POISONS)(
    '$what: is kept for people, doubts what it may have changed, and holds nothing up',
    async poison => {
      const { value, key = null, doubted } = poison;
      const id = POISONS.indexOf(poison) + 2;
      const partition = partitionOfRow(id, PARTITIONS);
      await warm(api, `/wells/${id}`);
      await warm(api, '/mills/1');
      const before = { generations: await generations(), letters: (await letters()).length };

      const offset = await topic.produce(partition, { key, value: value() });
      const producedMs = performance.now();
      // Lies behind it, in the same partition.
      await world.database.query('update wells set n = n + 1 where id = $1', [id]);
      await eventually(
        'the change behind it is shown',
        async () => (await api.get(`/wells/${id}`)).body,
        body => body === JSON.stringify({ id, n: 1 }),
        BOUND_MS + 500,
      );
      expect(await untilProvenSince(api, producedMs)).toBeLessThan(GOES_ON_WITHIN_MS);

      const after = await generations();
      const raised = BOTH.filter(name => after[name] !== before.generations[name]);
      expect(raised).toEqual(doubted);
      const kept = (await letters()).slice(before.letters);
      const places = [`${world.kafka!.names.topic}/${partition}@${offset}`];
      expect(kept.map(({ place }) => place)).toEqual(doubted.length > 0 ? places : []);
      for (const { bytes } of kept) expect(bytes).toBeLessThanOrEqual(MEGABYTE);
      expect(epochs.given).toEqual([]);
      for (const path of [`/wells/${id}`, '/mills/1']) await warm(api, path);
    },
  );

  const beatOf = (partition: number, more: object): string => {
    const content = Buffer.from(JSON.stringify({ writer: 'nobody', number: 1, incarnation: null, ...more }));
    const message = { prefix: beatPrefixes(PARTITIONS)[partition], content: content.toString('base64') };
    return envelope({ op: 'm', after: null, message }, { txId: null, schema: '', table: '' });
  };

  test('a beat in a partition that it was not meant for is told of, and proves nothing', async () => {
    await topic.produce(2, { value: beatOf(0, {}) });
    await eventually(
      'it is told',
      () => worker.log(),
      log => log.includes('a beat meant for partition 0 of'),
    );
    await untilProvenSince(api, performance.now());
    expect(epochs.given).toEqual([]);
  });

  test('a beat that was sent to more partitions than are followed is a gap: changes may lie where nobody looks', async () => {
    const gaps = gapsOpened(worker).length;
    const { incarnation } = (await world.store.standing())!;
    await topic.produce(2, { value: beatOf(2, { incarnation, partitions: PARTITIONS + 1 }) });
    await eventually(
      'the gap is told',
      () => gapsOpened(worker).slice(gaps),
      causes => causes.length > 0,
    );
    await untilProvenSince(api, performance.now());
    expect(new Set(gapsOpened(worker).slice(gaps))).toEqual(new Set(['partitions-changed']));
    expect(epochs.given).toHaveLength(2);
  });

  test('a change under a transaction id that was not given out yet: holds nothing up', async () => {
    await warm(api, '/wells/1');
    const before = { generations: await generations(), letters: (await letters()).length };
    await topic.produce(partitionOfRow(1, PARTITIONS), {
      value: envelope({}, { txId: committedXid + 1_000_000 }),
    });
    await untilProvenSince(api, performance.now() + BOUND_MS);
    expect((await generations()).wells).not.toBe(before.generations.wells);
    expect(await letters()).toHaveLength(before.letters + 1);
    expect(epochs.given).toEqual([]);
    await warm(api, '/wells/1');
  }, 60_000);
});
