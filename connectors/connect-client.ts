import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { withoutPassword } from '../shared/config.ts';
import { describe, FreshetError } from '../shared/errors.ts';
import { hintFor } from './task-trouble.ts';

/** Settings of a connector as Connect keeps them. */
export type ConnectorConfig = Readonly<Record<string, string>>;

/** RUNNING, PAUSED, STOPPED, FAILED, UNASSIGNED, RESTARTING: Connect may learn further words. */
export type RunState = string;

export interface ConnectorState {
  readonly connector: RunState;
  /** Of the one task a Postgres connector has; null while it has none (it is stopped, or was just made). */
  readonly task: RunState | null;
  /** Stack trace of what failed, as Connect tells it; null while nothing has. */
  readonly trace: string | null;
}

/** One place in the source that Connect has stored: what of, and where. */
export interface SourceOffset {
  readonly partition: Readonly<Record<string, unknown>>;
  readonly offset: Readonly<Record<string, unknown>> | null;
}

export interface ConnectClientOptions {
  /** Base URL of Connect's REST interface; user and password in it are sent as basic authentication. */
  readonly url: string;
  /** Taken out of every message: Connect may echo what it was sent, or what it resolved. */
  readonly secrets?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** Answers that only look something up or note a wish. */
const ANSWER_LIMIT_MS = 10_000;
/** A configuration is checked before the answer: Debezium connects to the database. */
const CHECK_LIMIT_MS = 75_000;
/** While the group of Connect's workers moves its tasks, 409 asks to come again. */
const REBALANCE_LIMIT_MS = 30_000;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 1_000;
const REBALANCE = /rebalance|stale configuration|no known leader|momentarily/i;

const stateShape = z.object({
  connector: z.object({ state: z.string(), trace: z.string().optional() }),
  tasks: z.array(z.object({ state: z.string(), trace: z.string().optional() })),
});
const offsetsShape = z.object({
  offsets: z.array(
    z.object({
      partition: z.record(z.string(), z.unknown()),
      offset: z.record(z.string(), z.unknown()).nullable(),
    }),
  ),
});
const configShape = z.record(z.string(), z.string());
const refusalShape = z.object({ message: z.string() });

interface Question {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly limitMs?: number;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * Kafka Connect's REST interface. Every method throws FreshetError: `connect-unreachable` (retryable) when nobody
 * answers in time, `connect-refused` with Connect's own words when it does not want to. A name that is not there
 * is null for questions, and no trouble for `remove`.
 */
export class ConnectClient {
  readonly #base: string;
  readonly #shown: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #secrets: readonly string[];
  readonly #signal: AbortSignal | undefined;

  constructor({ url, secrets = [], signal }: ConnectClientOptions) {
    const address = new URL(url);
    const [user, password] = [address.username, address.password].map(decodeURIComponent);
    this.#headers = {
      accept: 'application/json',
      'content-type': 'application/json',
      ...(user && { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` }),
    };
    this.#shown = withoutPassword(url);
    address.username = '';
    address.password = '';
    this.#base = address.href.replace(/\/$/, '');
    this.#secrets = [...secrets, password ?? ''].filter(secret => secret !== '');
    this.#signal = signal;
  }

  /** Of one that was just made it may be null for a moment, and one that was removed may leave its last one behind. */
  async state(name: string): Promise<ConnectorState | null> {
    const answer = await this.#lookUp(`${pathOf(name)}/status`, stateShape);
    if (answer === null) return null;
    const { connector, tasks } = answer;
    const failed = tasks.find(({ state }) => state === 'FAILED');
    const trace = failed?.trace ?? connector.trace ?? null;
    return {
      connector: connector.state,
      task: (failed ?? tasks[0])?.state ?? null,
      trace: trace && this.#withoutSecrets(trace),
    };
  }

  /** As it was put: references to secrets are not resolved. Whether there is such a connector, this says for sure. */
  config(name: string): Promise<ConnectorConfig | null> {
    return this.#lookUp(`${pathOf(name)}/config`, configShape);
  }

  /** Where the source is remembered to stand; works in every state of the connector. */
  async offsets(name: string): Promise<readonly SourceOffset[] | null> {
    return (await this.#lookUp(`${pathOf(name)}/offsets`, offsetsShape))?.offsets ?? null;
  }

  /** Makes it without starting it: what Connect remembers of an earlier one of that name can be looked at first. */
  async createStopped(name: string, config: ConnectorConfig): Promise<void> {
    const body = { name, config, initial_state: 'STOPPED' };
    await this.#order({ method: 'POST', path: '/connectors', body, limitMs: CHECK_LIMIT_MS });
  }

  /** Changes the settings, or makes and starts the connector; one that runs is restarted. */
  async putConfig(name: string, config: ConnectorConfig): Promise<void> {
    await this.#order({
      method: 'PUT',
      path: `${pathOf(name)}/config`,
      body: config,
      limitMs: CHECK_LIMIT_MS,
    });
  }

  /** Asks it to let go of its tasks; `state` says when it has. */
  async stop(name: string): Promise<void> {
    await this.#order({ method: 'PUT', path: `${pathOf(name)}/stop` });
  }

  async resume(name: string): Promise<void> {
    await this.#order({ method: 'PUT', path: `${pathOf(name)}/resume` });
  }

  /** Starts again what has failed of the connector and its tasks, and nothing else. */
  async restartFailed(name: string): Promise<void> {
    const path = `${pathOf(name)}/restart?includeTasks=true&onlyFailed=true`;
    await this.#order({ method: 'POST', path });
  }

  /** Starts the connector and its task again, whatever their state. */
  async restart(name: string): Promise<void> {
    await this.#order({ method: 'POST', path: `${pathOf(name)}/restart?includeTasks=true` });
  }

  /** The connector must be STOPPED. */
  async deleteOffsets(name: string): Promise<void> {
    await this.#order({ method: 'DELETE', path: `${pathOf(name)}/offsets` });
  }

  /** Its offsets stay, under its name. False when there was none. */
  async remove(name: string): Promise<boolean> {
    const answer = await this.#settle({ method: 'DELETE', path: pathOf(name) });
    if (answer.status === 404) return false;
    if (!isGood(answer)) throw this.#refusal('DELETE', answer);
    return true;
  }

  async #lookUp<T>(path: string, shape: z.ZodType<T>): Promise<T | null> {
    const answer = await this.#settle({ method: 'GET', path });
    if (answer.status === 404) return null;
    if (!isGood(answer)) throw this.#refusal('GET', answer);
    const parsed = shape.safeParse(parseJson(answer.text));
    if (parsed.success) return parsed.data;
    throw new FreshetError({
      code: 'connect-refused',
      message: `${this.#shown}${path} answered something that is not Kafka Connect's: ${this.#shortened(answer.text)}`,
      hint: 'Check FRESHET_CONNECT_URL.',
    });
  }

  async #order(question: Question): Promise<void> {
    const answer = await this.#settle(question);
    if (!isGood(answer)) throw this.#refusal(question.method, answer);
  }

  /** Asks until Connect's workers have agreed on who does what. */
  async #settle(question: Question): Promise<Answer> {
    const until = performance.now() + REBALANCE_LIMIT_MS;
    for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS)) {
      const answer = await this.#ask(question);
      const comesAgain = answer.status === 409 && REBALANCE.test(answer.text);
      if (!comesAgain || performance.now() > until) return answer;
      await delay(retryMs, undefined, { signal: this.#signal });
    }
  }

  async #ask({ method, path, body, limitMs = ANSWER_LIMIT_MS }: Question): Promise<Answer> {
    const limit = AbortSignal.timeout(limitMs);
    try {
      const response = await fetch(`${this.#base}${path}`, {
        method,
        headers: this.#headers,
        signal: this.#signal ? AbortSignal.any([limit, this.#signal]) : limit,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: response.status, text: await response.text() };
    } catch (error) {
      this.#signal?.throwIfAborted();
      const why = limit.aborted ? `no answer within ${limitMs} ms` : reasonOf(error);
      throw new FreshetError({
        code: 'connect-unreachable',
        message: `Kafka Connect ${this.#shown} cannot be reached: ${why}`,
        hint: 'Check FRESHET_CONNECT_URL, and that Connect runs there.',
        retryable: true,
      });
    }
  }

  #refusal(method: string, { status, text }: Answer): FreshetError {
    const told = refusalShape.safeParse(parseJson(text));
    const words = told.success ? told.data.message : text;
    return new FreshetError({
      code: 'connect-refused',
      message: `Kafka Connect refused (${method}, status ${status}): ${this.#shortened(words)}`,
      hint:
        status === 401 || status === 403
          ? 'Put user and password into FRESHET_CONNECT_URL.'
          : (hintFor(words) ?? 'The log of Connect tells more.'),
      retryable: [409, 502, 503, 504].includes(status) || /timed out/i.test(words),
    });
  }

  #shortened(text: string): string {
    return this.#withoutSecrets(
      text
        .replace(/\nYou can also find the above list of errors at the endpoint[\s\S]*/, '')
        .replaceAll(/\s*\n\s*/g, ' ')
        .trim()
        .slice(0, LONGEST_MESSAGE) || 'without a word',
    );
  }

  #withoutSecrets(text: string): string {
    const known = this.#secrets.reduce((veiled, secret) => veiled.replaceAll(secret, VEIL), text);
    return known.replaceAll(PASSWORD_SETTING, `$1${VEIL}`);
  }
}

const LONGEST_MESSAGE = 600;
const VEIL = '••••';
/** Any setting or parameter that is called a password, however it is written; a reference to one may be seen. */
const PASSWORD_SETTING = /(password["']?\s*[=:]\s*["']?)(?!\$\{)[^\s"',;&}]+/gi;

const pathOf = (name: string): string => `/connectors/${encodeURIComponent(name)}`;
const isGood = ({ status }: Answer): boolean => status >= 200 && status < 300;

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** `fetch` says only "fetch failed"; what failed is in its cause. */
function reasonOf(error: unknown): string {
  const { cause = error } = error as { cause?: unknown };
  const { code } = cause as { code?: unknown };
  return typeof code === 'string' ? code : describe(cause);
}
