import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, FreshetError } from '../errors.ts';
import type { FreshetConfig } from './define.ts';

/** Looked for where no file is named. */
export const DEFAULT_CONFIG_FILE = 'freshet.config.ts';
/** Named instead of a file: serve every table, whatever file is there. */
export const NO_CONFIG_FILE = 'none';

/**
 * The declared resources; null when nothing declares any and every table with a primary key is to be served.
 * `file`: as FRESHET_CONFIG names it; relative to `folder`.
 * @throws FreshetError `bad-config-file`.
 */
export async function readConfigFile(file: string | null, folder: string): Promise<FreshetConfig | null> {
  if (file === NO_CONFIG_FILE) return null;
  const path = resolve(folder, file ?? DEFAULT_CONFIG_FILE);
  if (!existsSync(path)) {
    if (file === null) return null;
    throw new FreshetError({
      code: 'bad-config-file',
      message: `FRESHET_CONFIG names ${path}, and there is no such file`,
      hint: `Correct the path, or set it to ${NO_CONFIG_FILE} to serve every table read-only.`,
    });
  }
  let exported: unknown;
  try {
    exported = ((await import(pathToFileURL(path).href)) as { default?: unknown }).default;
  } catch (cause) {
    throw new FreshetError({
      code: 'bad-config-file',
      message: `${path} could not be loaded: ${describe(cause)}`,
      hint: 'It runs as it is, with its types taken out: imports need their file extension.',
      cause,
    });
  }
  const resources = (exported as FreshetConfig | undefined)?.resources;
  if (typeof resources === 'object' && resources !== null) return exported as FreshetConfig;
  throw new FreshetError({
    code: 'bad-config-file',
    message: `${path} must export a configuration as its default, and exports ${exported === undefined ? 'none' : typeof exported}`,
    hint: 'export default defineConfig({ resources: { users: table("users") } });',
  });
}
