import { ROOT_CONTEXT } from '@opentelemetry/api';
import {
  AlwaysOnSampler,
  ParentBasedSampler,
  type Sampler,
  SamplingDecision,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace';

/** New traces a process may begin in a second; as many may come at once. Traces that others began do not count. */
export const TRACES_PER_SECOND = 100;

/** A token bucket over new traces. `onRefused` counts what was not taken. */
export class TraceBudget {
  readonly #perSecond: number;
  readonly #monotonicMs: () => number;
  readonly #onRefused: () => void;
  #tokens: number;
  #filledAtMs: number;

  constructor(onRefused: () => void, monotonicMs = () => performance.now(), perSecond = TRACES_PER_SECOND) {
    this.#onRefused = onRefused;
    this.#monotonicMs = monotonicMs;
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
    this.#filledAtMs = monotonicMs();
  }

  hasRoom(): boolean {
    const nowMs = this.#monotonicMs();
    const added = ((nowMs - this.#filledAtMs) / 1e3) * this.#perSecond;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + added);
    this.#filledAtMs = nowMs;
    return this.#tokens >= 1;
  }

  take(): boolean {
    if (!this.hasRoom()) {
      this.refuse();
      return false;
    }
    this.#tokens--;
    return true;
  }

  refuse(): void {
    this.#onRefused();
  }
}

/** New traces by ratio and budget; below somebody's span, as that span was decided. */
export function budgetSampler(budget: TraceBudget, ratio: number): Sampler {
  const byRatio = new TraceIdRatioBasedSampler(ratio);
  const root: Sampler = {
    shouldSample: (_context, traceId) => {
      const taken =
        byRatio.shouldSample(ROOT_CONTEXT, traceId).decision === SamplingDecision.RECORD_AND_SAMPLED;
      return {
        decision: taken && budget.take() ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD,
      };
    },
    toString: () => `BudgetSampler{${ratio}}`,
  };
  return new ParentBasedSampler({ root, remoteParentSampled: new AlwaysOnSampler() });
}
