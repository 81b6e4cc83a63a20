/** Jest transform: the same type stripping that Node applies by itself when it runs a .ts file. */
import { stripTypeScriptTypes } from 'node:module';

const strip = source => ({ code: stripTypeScriptTypes(source, { mode: 'strip' }) });

export default { process: strip, processAsync: async source => strip(source) };
