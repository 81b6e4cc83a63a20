/**
 * Adds to package-lock.json the optional packages of other platforms that npm left out, because the registry it was
 * run against did not hold them. Without them `npm ci` refuses the lock file, here and everywhere.
 *   node .ci/complete-lock.mjs
 * Their versions are exact in the packages that ask for them; what each is for stands in its name.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));
const platforms = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'openharmony', 'sunos', 'win32'];

/** Where Node would look for `name` from `path`, innermost first. */
function* places(path, name) {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    yield `${at}${at && '/'}node_modules/${name}`;
    if (at === '') return;
  }
}

/** `…-linux-x64-musl` → what package.json of that package says. */
function platformOf(name) {
  const parts = name.split('/').at(-1).split('-');
  const [os, cpu, abi = ''] = parts.slice(parts.findIndex(part => platforms.includes(part)));
  const libc = os === 'linux' && (abi === 'musl' ? ['musl'] : abi.startsWith('gnu') ? ['glibc'] : null);
  return { cpu: [cpu], os: [os], ...(libc && { libc }) };
}

const added = [];
for (const [path, asking] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(asking.optionalDependencies ?? {})) {
    if ([...places(path, name)].some(place => lock.packages[place])) continue;
    if (!/^\d/.test(version)) throw new Error(`${path} asks for ${name}@${version}: not an exact version`);
    const dev = asking.dev && { dev: true };
    lock.packages[`node_modules/${name}`] = { version, ...dev, optional: true, ...platformOf(name) };
    added.push(name);
  }
}
if (added.length > 0) {
  const [root, ...others] = Object.entries(lock.packages);
  others.sort(([a], [b]) => a.localeCompare(b, 'en'));
  lock.packages = Object.fromEntries([root, ...others]);
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
}
process.stdout.write(`added ${added.length}\n`);
