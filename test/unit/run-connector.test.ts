import { describe, expect, test } from '@jest/globals';
import type { ConnectorState } from '../../connectors/connect-client.ts';
import { kafkaNames } from '../../connectors/names.ts';
import { type RunOptions, runConnector } from '../../connectors/run-connector.ts';

/** What Connect says of the connector, and which process of Postgres reads the slot; the last one for ever. */
type Look = readonly [state: ConnectorState | null, reader: number | null];

const running: ConnectorState = { connector: 'RUNNING', task: 'RUNNING', trace: null };
const unassigned: ConnectorState = { connector: 'RUNNING', task: 'UNASSIGNED', trace: null };
const stopped: ConnectorState = { connector: 'STOPPED', task: null, trace: null };
const failed: ConnectorState = { connector: 'RUNNING', task: 'FAILED', trace: 'x.E: it broke' };

function connectThatShows(...looks: readonly Look[]) {
  const left = [...looks];
  const orders: string[] = [];
  let [state, reader] = left[0]!;
  const options: RunOptions = {
    names: kafkaNames(null),
    client: {
      state: async () => {
        [state, reader] = left.length > 1 ? left.shift()! : left[0]!;
        return state;
      },
      stop: async () => void orders.push('stop'),
      resume: async () => void orders.push('resume'),
      restartFailed: async () => void orders.push('restart'),
    },
    query: async () => ({
      rows: [{ facts: JSON.stringify({ activePid: reader, reader: null, lostBecause: null }) }],
    }),
  };
  return { options, orders, looksLeft: () => left.length };
}

describe('a connector that is to run', () => {
  test('runs once its slot is read: Connect says so before', async () => {
    const { options, looksLeft } = connectThatShows(
      [stopped, null],
      [stopped, null],
      [running, null],
      [running, null],
      [running, 7],
    );
    await runConnector(options, null);
    expect(looksLeft()).toBe(1);
  });

  test('runs once its slot is read by another than before', async () => {
    const { options, looksLeft } = connectThatShows(
      [running, 6],
      [running, 6],
      [unassigned, 6],
      [running, 6],
      [running, 7],
    );
    await runConnector(options, 6);
    expect(looksLeft()).toBe(1);
  });

  test('is resumed once, also when it has no state at first', async () => {
    const { options, orders } = connectThatShows(
      [null, null],
      [stopped, null],
      [stopped, null],
      [stopped, null],
      [running, 7],
    );
    await runConnector(options, null);
    expect(orders).toEqual(['resume']);
  });

  test('and had failed is restarted, and its old failure is not believed', async () => {
    const { options, orders } = connectThatShows(
      [failed, null],
      [failed, null],
      [failed, null],
      [failed, null],
      [unassigned, null],
      [running, 7],
    );
    await runConnector(options, null);
    expect(orders).toEqual(['restart']);
  });

  test('and fails again says why', async () => {
    const { options } = connectThatShows([stopped, null], [running, null], [failed, null]);
    await expect(runConnector(options, null)).rejects.toMatchObject({
      code: 'connector-failed',
      message: 'connector freshet has failed: it broke',
    });
  });
});
