import type { Command } from './command.ts';
import { runProgram } from './run-program.ts';

export const command: Command = {
  usage: '[words for the benchmark …]',
  options: {},
  passesOn: true,
  run: ({ words }) => runProgram(['bench/main.ts', ...words]),
};
