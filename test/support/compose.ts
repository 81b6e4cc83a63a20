import { parse } from 'yaml';
import { z } from 'zod';

/** What a compose file is filled from: the shell's environment and `.env`. */
export type Variables = Readonly<Record<string, string | undefined>>;

const reference = /\$(?:(\$)|\{([A-Za-z_]\w*)(?:(:?[-?])([^}]*))?\}|([A-Za-z_]\w*))/g;

/**
 * `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`, `${VAR?message}` and `$$`, as Docker Compose reads
 * them. Throws where a value is required; where Compose only warns (a plain `${VAR}` that is not set), too.
 */
export function interpolate(text: string, variables: Variables): string {
  return text.replace(reference, (found, dollar, braced, operator = '?', word = 'it is not set', plain) => {
    if (dollar) return '$';
    const name: string = braced ?? plain;
    const value = variables[name];
    const isThere = operator.startsWith(':') ? Boolean(value) : value !== undefined;
    if (isThere) return value!;
    if (operator.endsWith('-')) return word;
    throw new Error(`${found}: required variable ${name} is missing a value: ${word}`);
  });
}

/** Names of the variables that a text refers to. */
export const variablesIn = (text: string): string[] =>
  [...text.matchAll(reference)].flatMap(([, , braced, , , plain]) => braced ?? plain ?? []);

function fill(value: unknown, variables: Variables): unknown {
  if (typeof value === 'string') return interpolate(value, variables);
  if (Array.isArray(value)) return value.map(one => fill(one, variables));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, fill(one, variables)]));
}

const duration = z.string().regex(/^(\d+m)?(\d+s)?$/);

const healthcheck = z.strictObject({
  test: z.array(z.string()).min(2),
  interval: duration,
  timeout: duration,
  retries: z.number(),
  start_period: duration,
  start_interval: duration,
});

const service = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), target: z.string() }).optional(),
  command: z.array(z.string()).optional(),
  restart: z.enum(['no', 'unless-stopped']).optional(),
  environment: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).default({}),
  secrets: z.array(z.string()).default([]),
  configs: z.array(z.strictObject({ source: z.string(), target: z.string() })).default([]),
  volumes: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  profiles: z.array(z.string()).default([]),
  depends_on: z
    .record(
      z.string(),
      z.strictObject({ condition: z.enum(['service_healthy', 'service_completed_successfully']) }),
    )
    .default({}),
  healthcheck: healthcheck.optional(),
  stop_grace_period: duration.optional(),
  security_opt: z.array(z.string()).optional(),
  cap_drop: z.array(z.string()).optional(),
});

/** Only what is used here: a misspelt or unknown word is an error. */
const project = z.object({
  name: z.string(),
  services: z.record(z.string(), service),
  volumes: z.record(z.string(), z.null()),
  secrets: z.record(z.string(), z.strictObject({ environment: z.string() })),
  configs: z.record(z.string(), z.strictObject({ content: z.string() })),
});

export type ComposeService = Omit<z.infer<typeof service>, 'environment'> & {
  readonly environment: Readonly<Record<string, string>>;
};
export type ComposeProject = Omit<z.infer<typeof project>, 'services'> & {
  readonly services: Readonly<Record<string, ComposeService>>;
};

/** The environment of a container: a name without a value is taken from outside, or is not there. */
const environmentOf = (declared: z.infer<typeof service>['environment'], variables: Variables) =>
  Object.fromEntries(
    Object.entries(declared).flatMap(([name, value]) => {
      const known = value ?? variables[name];
      return known === undefined ? [] : [[name, String(known)]];
    }),
  );

/** A compose file as Docker Compose would run it. Throws on a required variable that is missing, and on unknown words. */
export function readCompose(text: string, variables: Variables): ComposeProject {
  const { services, ...rest } = project.parse(fill(parse(text, { merge: true }), variables));
  const filled = Object.entries(services).map(([name, one]) => [
    name,
    { ...one, environment: environmentOf(one.environment, variables) },
  ]);
  return { ...rest, services: Object.fromEntries(filled) };
}

/** `1m30s` in milliseconds. */
export function durationMs(text: string): number {
  const [, minutes = '0', seconds = '0'] = /^(?:(\d+)m)?(?:(\d+)s)?$/.exec(text)!;
  return (Number(minutes) * 60 + Number(seconds)) * 1_000;
}
