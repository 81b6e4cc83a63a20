/** Jest runs the TypeScript as Node does: types are stripped, nothing is compiled. */
const shared = {
  rootDir: import.meta.dirname,
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': '<rootDir>/test/support/strip-types.js' },
  globalSetup: '<rootDir>/test/support/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/global-teardown.ts',
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.freshet'],
};

/** What must hold whichever way changes come: these run over both feeds. */
const overBothFeeds = [
  'bypass',
  'dead-letter',
  'definitions',
  'guarded',
  'journey',
  'observed',
  'publication',
  'queue-down',
  'slow-fill',
  'values',
  'visibility',
];

export default {
  testTimeout: 30_000,
  maxWorkers: 2,
  projects: [
    { ...shared, displayName: 'freshet', testMatch: ['<rootDir>/test/**/*.test.ts'] },
    {
      ...shared,
      displayName: 'kafka',
      globalSetup: '<rootDir>/test/support/kafka-setup.ts',
      testMatch: overBothFeeds.map(name => `<rootDir>/test/flow/${name}.test.ts`),
      setupFiles: ['<rootDir>/test/support/feed-kafka.js'],
    },
  ],
};
