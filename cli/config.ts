import { readSettings, settingsTable, showSettings } from '../shared/config.ts';
import { type Command, exitCode } from './command.ts';

/** Prints what a start would use, and from where; secrets are veiled. */
export const command: Command = {
  usage: '[--json | --markdown]    --markdown: the table of docs/configuration.md',
  options: { json: { type: 'boolean' }, markdown: { type: 'boolean' } },
  async run({ options, env, sourceOf, print }) {
    if (options.markdown) {
      print(settingsTable());
      return exitCode.good;
    }
    const shown = showSettings(readSettings(env), env, sourceOf);
    if (options.json) {
      print(JSON.stringify(shown, null, 2));
      return exitCode.good;
    }
    const width = (pick: (setting: (typeof shown)[number]) => string): number =>
      Math.max(...shown.map(setting => pick(setting).length));
    const [names, values] = [width(setting => setting.name), width(setting => setting.value)];
    for (const { name, value, source } of shown)
      print(`${name.padEnd(names)}  ${value.padEnd(values)}  ${source}`);
    return exitCode.good;
  },
};
