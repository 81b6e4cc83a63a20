/** The form of the source: needs no servers. */
import base from '../../jest.config.js';

const { globalSetup, globalTeardown, ...rest } = base;
export default { ...rest, rootDir: '../..', testMatch: ['<rootDir>/test/form/**/*.test.ts'] };
