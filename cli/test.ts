import { type Command, exitCode } from './command.ts';
import { runProgram } from './run-program.ts';

interface Tally {
  readonly passed: number;
  readonly failed: number;
}

/** Runs jest on everything, or on what its own arguments say. The last line counts: `N passed, N failed`. */
export const command: Command = {
  usage: '[words for jest …]',
  options: {},
  passesOn: true,
  async run({ words, print }) {
    // A run that ends before it could count has failed.
    let tally: Tally = { passed: 0, failed: 1 };
    const code = await runProgram(
      [
        '--experimental-vm-modules',
        '--disable-warning=ExperimentalWarning',
        'node_modules/jest/bin/jest.js',
        ...words,
        // Last: the option takes as many words as follow it.
        '--reporters=default',
        '--reporters=./test/support/tally.js',
      ],
      jest =>
        jest.on('message', message => {
          tally = message as Tally;
        }),
    );
    print(`${tally.passed} passed, ${tally.failed} failed`);
    return code === 0 && tally.failed > 0 ? exitCode.trouble : code;
  },
};
