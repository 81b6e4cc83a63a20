import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { type Command, exitCode } from './command.ts';
import { home } from './run-program.ts';

interface Step {
  readonly name: string;
  readonly args: readonly string[];
}

const bin = (path: string): string => join(home, 'node_modules', path);
const printedLimitBytes = 16 * 1024 * 1024;

const steps: readonly Step[] = [
  {
    name: 'format and lint',
    args: [
      bin('@biomejs/biome/bin/biome'),
      'ci',
      '--error-on-warnings',
      `--colors=${process.stdout.isTTY ? 'force' : 'off'}`,
    ],
  },
  { name: 'types', args: [bin('typescript/bin/tsc'), '-p', '.'] },
  {
    name: 'form',
    args: [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      bin('jest/bin/jest.js'),
      '--config',
      'test/form/jest.config.js',
    ],
  },
];

const runStep = ({ args }: Step): Promise<{ isGood: boolean; printed: string }> =>
  new Promise(resolve => {
    execFile(process.execPath, args, { cwd: home, maxBuffer: printedLimitBytes }, (error, stdout, stderr) =>
      resolve({ isGood: error === null, printed: `${stdout}${stderr}`.trim() }),
    );
  });

/** Everything about the source that needs no server: all steps side by side, each step's output in one piece. */
export const command: Command = {
  usage: '',
  options: {},
  async run({ print }) {
    const results = await Promise.all(steps.map(runStep));
    steps.forEach(({ name }, index) => {
      const { isGood, printed } = results[index]!;
      if (!isGood) print(printed);
      print(`${isGood ? 'good  ' : 'FAILED'}  ${name}`);
    });
    return results.every(({ isGood }) => isGood) ? exitCode.good : exitCode.trouble;
  },
};
