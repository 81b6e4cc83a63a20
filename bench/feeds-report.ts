import { contenders, FAST, type FeedsResult, ROWS_PER_TRANSACTION } from './feeds.ts';
import { number, table } from './report.ts';

const titles: Readonly<Record<string, string>> = {
  wal: '`wal`',
  kafka: '`kafka`',
  defaults: "`kafka`, Debezium's and the producer's defaults",
};

const figure = (value: number | undefined, digits = 1): string =>
  value !== undefined && Number.isFinite(value) ? value.toFixed(digits) : '–';
const percent = (share: number): string => (Number.isFinite(share) ? `${Math.round(share * 100)} %` : '–');

export function reportFeeds(result: FeedsResult): string {
  return [lags(result), way(result), bulks(result), capacity(result)].join('\n\n');
}

function lags({ lags, bare }: FeedsResult): string {
  const paces = [...new Set(contenders.flatMap(one => one.paces))];
  const rows = paces.flatMap(pace => {
    const behindPace = (perSecond: number): string =>
      perSecond < pace * 0.98 ? ` (came to ${number(perSecond)})` : '';
    const fenced = contenders.flatMap(({ name }) => {
      const lag = result(name, pace);
      if (!lag) return [];
      const { workerShare, connectShare, brokerShare } = lag;
      return [
        line(titles[name]!, pace, behindPace(lag.perSecond), lag, [workerShare, connectShare, brokerShare]),
      ];
    });
    const called = bare[String(pace)];
    if (!called) return fenced;
    const { consumerShare, connectShare, brokerShare } = called;
    const shares = [consumerShare, connectShare, brokerShare];
    return [
      ...fenced,
      line('the bare chain to a kafkajs callback', pace, behindPace(called.perSecond), called, shares),
    ];
  });
  return table(
    ['commit acknowledged → fence', 'p50 ms', 'p90 ms', 'p99 ms', 'worker, of a core', 'Connect', 'broker'],
    rows,
  );

  function result(name: string, pace: number) {
    return lags[`${name} ${pace}`];
  }
}

function line(
  name: string,
  pace: number,
  note: string,
  { p50Ms, p90Ms, p99Ms }: { p50Ms: number; p90Ms: number; p99Ms: number },
  shares: readonly number[],
): string[] {
  const title = `${name}, ${number(pace)} commits/s${note}`;
  return [title, ...[p50Ms, p90Ms, p99Ms].map(value => figure(value, 2)), ...shares.map(percent)];
}

/** Where the time goes at the faster pace: the steps of the bare chain, and the worker's own means. */
function way({ lags, bare }: FeedsResult): string {
  const chain = bare[String(FAST)]!;
  const kafka = lags[`kafka ${FAST}`]!;
  const wal = lags[`wal ${FAST}`]!;
  return table(
    [`at ${number(FAST)} commits/s`, 'p50 ms', 'p99 ms', 'mean ms'],
    [
      ['commit record → acknowledged to the writer', figure(chain.acknowledgedP50Ms, 2), '', ''],
      [
        'commit record → decoded by Debezium',
        figure(chain.decodedP50Ms, 2),
        figure(chain.decodedP99Ms, 2),
        '',
      ],
      ["decoded → taken by Kafka's producer", figure(chain.sentP50Ms, 2), figure(chain.sentP99Ms, 2), ''],
      ['producer → callback of kafkajs', figure(chain.calledP50Ms, 2), figure(chain.calledP99Ms, 2), ''],
      ['`kafka`: commit record → received by the worker', '', '', figure(kafka.captureMs, 2)],
      ['`kafka`: received → fence', '', '', figure(kafka.applyMs, 2)],
      ['`wal`: commit record → received by the worker', '', '', figure(wal.captureMs, 2)],
      ['`wal`: received → fence', '', '', figure(wal.applyMs, 2)],
    ],
  );
}

function bulks({ bulks }: FeedsResult): string {
  const named = contenders.filter(one => one.isMeasuredInFull).map(one => one.name);
  const rows = ['all', String(ROWS_PER_TRANSACTION)].flatMap(kind =>
    named.map(name => {
      const found = bulks[`${name} ${kind}`]!;
      const how = kind === 'all' ? 'one UPDATE' : `${number(ROWS_PER_TRANSACTION)} rows a transaction`;
      return [
        `${titles[name]}, ${how}`,
        number(found.rows),
        number(found.perSecond),
        number(found.behindMs),
        figure(found.workerUs),
        figure(found.connectUs),
        figure(found.brokerUs),
      ];
    }),
  );
  return table(
    [
      'until everything is settled',
      'rows',
      'rows/s',
      'settled after ms',
      'CPU µs a row: worker',
      'Connect',
      'broker',
    ],
    rows,
  );
}

function capacity({ delivered, caughtUp }: FeedsResult): string {
  const row = (title: string, name: string): string[] => {
    const { perSecond, cpuUs, ratio } = caughtUp[name]!;
    return [title, number(perSecond), figure(cpuUs), figure(ratio, 2)];
  };
  return table(
    ['catching up', 'rows/s', 'CPU µs a row', 'to Debezium'],
    [
      [
        'Debezium into the topic, nobody reading',
        number(delivered.perSecond),
        figure(delivered.connectUs),
        '1.00',
      ],
      row('a kafkajs consumer that does nothing', 'consumer'),
      row('a worker, `kafka`', 'kafka'),
      row('a worker, `wal`', 'wal'),
    ],
  );
}
