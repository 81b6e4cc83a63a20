import { fileURLToPath } from 'node:url';
import { type Jars, type JarsOptions, readyJars } from './jars.ts';
import { findOrInstallJava } from './java.ts';

/** What the servers of the local Kafka chain run on. */
export interface KafkaRuntime extends Jars {
  readonly java: string;
}

/** Java and the jars, brought where they are missing. Throws `no-java`, `no-maven` or `jars-not-fetched`. */
export async function readyKafkaRuntime(options: JarsOptions): Promise<KafkaRuntime> {
  const java = findOrInstallJava(options);
  return { java, ...(await readyJars(options)) };
}

const logging = fileURLToPath(new URL('log4j2.properties', import.meta.url));

/** Arguments of a JVM that runs one of the servers; `folder` takes its report should the JVM itself crash. */
export const jvmArguments = (
  { libs }: Jars,
  folder: string,
  maxHeapMb: number,
  ...program: readonly string[]
): string[] => [
  '-Xms64m',
  `-Xmx${maxHeapMb}m`,
  // For one machine: half the memory and half the time to start of the defaults, for a fifth of the throughput.
  '-XX:TieredStopAtLevel=1',
  '-XX:+UseSerialGC',
  '-Xshare:auto',
  '-XX:-UsePerfData',
  // A server that is out of memory is better started again than half alive.
  '-XX:+ExitOnOutOfMemoryError',
  `-XX:ErrorFile=${folder}/jvm-error-%p.log`,
  '-Dfile.encoding=UTF-8',
  '-Djava.awt.headless=true',
  '-Dlog4j2.disableJmx=true',
  `-Dlog4j2.configurationFile=${logging}`,
  '-cp',
  `${libs}/*`, // Java's own wildcard.
  ...program,
];

/** The line that says why, out of what a server printed before it gave up. */
export function lastReason(printed: string): string {
  const lines = printed.trim().split('\n');
  const cause = lines.findLast(line => /^Caused by: |Exception: /.test(line));
  const error = lines.find(line => / (ERROR|FATAL) /.test(line));
  return (cause ?? error ?? lines.at(-1) ?? '').replace(/^Caused by: /, '').trim() || 'it printed nothing';
}
