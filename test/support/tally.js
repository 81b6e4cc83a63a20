/** Jest reporter: tells the process that started jest how many tests passed and failed. */
export default class Tally {
  onRunComplete(_contexts, results) {
    process.send?.({
      passed: results.numPassedTests,
      // A file that could not even be loaded holds no test that could fail, and is a failure all the same.
      failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
    });
  }
}
