/** The form of the source: needs no servers. */
import base from '../../jest.config.js';

const { globalSetup, globalTeardown, ...rest } = base.projects[0];
export default { ...rest, testMatch: ['<rootDir>/test/form/**/*.test.ts'] };
