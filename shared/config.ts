import { FreshetError } from './errors.ts';
import { nearMiss } from './resources/near-miss.ts';
import { type Definition, definitions, type SettingName, type Settings } from './settings.ts';

export type { Settings } from './settings.ts';

/** Settings come as texts. A text that cannot be understood is an error, never "unset". */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Settings of a process that reaches stores which somebody else started. */
export type ProcessSettings = Settings & {
  readonly [K in 'databaseUrl' | 'redisUrl' | 'queueRedisUrl']: string;
};

const entries = Object.entries(definitions) as [SettingName, Definition<unknown>][];
const knownNames: readonly string[] = entries.map(([, { env }]) => env);

// A password may hold an unescaped @, and pg also takes it as a parameter.
const urlPassword = /(:\/\/[^/:@]*):[^/]*@/;
const passwordParameter = /([?&](?:ssl)?password=)[^&]*/g;

/** The value as people may see it. */
const veil = (secret: Definition<unknown>['secret'], value: string): string => {
  if (secret === 'whole') return '••••';
  if (secret !== 'url') return value;
  return value.replace(urlPassword, '$1:••••@').replace(passwordParameter, '$1••••');
};

function problemOf({ env, value, expected, secret }: Definition<unknown>, text: string): string | null {
  if (text.trim() === '') return `${env} is set but empty: give it a value (${expected}), or take it away`;
  if (value.safeParse(text).success) return null;
  const seen = secret ? `a text of ${text.length} characters` : JSON.stringify(text);
  return `${env}: expected ${expected}, got ${seen}`;
}

const unknownName = (name: string): string => {
  const meant = nearMiss(name, knownNames);
  return `${name} is not a setting${meant ? `; did you mean ${meant}?` : ''}`;
};

/** Two URLs lead to the same server when host and port agree: the database number does not part them. */
function isSameServer(one: string, other: string): boolean {
  const [a, b] = [one, other].map(text => {
    const url = URL.parse(text);
    const host = url?.hostname.replace(/^(localhost|\[::1\])$/, '127.0.0.1');
    return `${host}:${url?.port || '6379'}`;
  });
  return a === b;
}

function contradictions(settings: Settings): string[] {
  const found: string[] = [];
  const { redisUrl, queueRedisUrl } = settings;
  if (redisUrl && queueRedisUrl && isSameServer(redisUrl, queueRedisUrl)) {
    found.push(
      'REDIS_URL and QUEUE_REDIS_URL lead to the same server: the cache may evict, and jobs must never be evicted',
    );
  }
  if (settings.apiPort === settings.consolePort) {
    found.push(
      `FRESHET_API_PORT and FRESHET_CONSOLE_PORT are both ${settings.apiPort}: they are two listeners`,
    );
  }
  if (settings.feed === 'kafka' && settings.connectUrl !== null && settings.kafkaBrokers === null) {
    found.push(
      'FRESHET_CONNECT_URL is set and FRESHET_KAFKA_BROKERS is not: name the brokers of that Connect, or leave both out and local ones are started',
    );
  }
  return found;
}

const badSettings = (problems: readonly string[]): FreshetError =>
  new FreshetError({
    code: 'bad-settings',
    message:
      problems.length === 1
        ? problems[0]!
        : `${problems.length} settings are wrong:\n${problems.map(problem => `  - ${problem}`).join('\n')}`,
    hint: 'Every setting, with what it takes: docs/configuration.md.',
  });

/** Reads all settings. Throws one FreshetError `bad-settings` that lists every problem there is. */
export function readSettings(env: Environment): Settings {
  const problems = Object.keys(env)
    .filter(name => name.startsWith('FRESHET_') && !knownNames.includes(name))
    .map(unknownName);
  const values = entries.map(([name, definition]) => {
    const text = env[definition.env];
    if (text === undefined) return [name, definition.fallback];
    const problem = problemOf(definition, text);
    if (problem) problems.push(problem);
    return [name, problem ? definition.fallback : definition.value.parse(text)];
  });
  const settings = Object.fromEntries(values) as Settings;
  problems.push(...contradictions(settings));
  if (problems.length > 0) throw badSettings(problems);
  return settings;
}

/** The same for a process that starts no server of its own: it must be told all that it reaches. */
export function readProcessSettings(env: Environment): ProcessSettings {
  const settings = readSettings(env);
  const { databaseUrl, redisUrl, queueRedisUrl, kafkaBrokers } = settings;
  const isFeedKnown = settings.feed !== 'kafka' || kafkaBrokers !== null;
  if (databaseUrl && redisUrl && queueRedisUrl && isFeedKnown)
    return { ...settings, databaseUrl, redisUrl, queueRedisUrl };
  const missing = (['databaseUrl', 'redisUrl', 'queueRedisUrl'] as const).filter(
    name => settings[name] === null,
  );
  const required: SettingName[] = isFeedKnown ? missing : [...missing, 'kafkaBrokers'];
  throw badSettings(
    required.map(name => `${definitions[name].env} is required here: ${definitions[name].expected}`),
  );
}

/** The environment of a child process that is to see `settings`. */
export const toEnvironment = (settings: Settings): Record<string, string> =>
  Object.fromEntries(
    entries.flatMap(([name, { env }]) => (settings[name] === null ? [] : [[env, String(settings[name])]])),
  );

export interface ShownSetting {
  readonly name: string;
  /** Secrets are veiled. */
  readonly value: string;
  readonly source: string;
}

/** Resolved values with where each came from; `sourceOf` knows more about a name that is set. */
export const showSettings = (
  settings: Settings,
  env: Environment,
  sourceOf: (name: string) => string = () => 'environment',
): ShownSetting[] =>
  entries.map(([name, { env: variable, secret, shown }]) => {
    const isSet = env[variable] !== undefined;
    return {
      name: variable,
      value: isSet ? veil(secret, String(settings[name])) : shown,
      source: isSet ? sourceOf(variable) : 'default',
    };
  });

/** The table of docs/configuration.md. */
export function settingsTable(): string {
  const rows = entries.map(
    ([, { env, expected, shown, about }]) => `| \`${env}\` | ${expected} | ${shown} | ${about} |`,
  );
  return ['| name | takes | default | what it is for |', '|---|---|---|---|', ...rows].join('\n');
}

/** A URL as people may see it: without its password. */
export const withoutPassword = (url: string): string => veil('url', url);
