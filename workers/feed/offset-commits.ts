import type { KafkaConsumer } from '../../connectors/kafka-consumer.ts';

/** Offsets on their way to the broker: one request at a time, with the newest of each partition. */
export class OffsetCommits {
  readonly #onFailure: (error: Error) => void;
  #waiting = new Map<number, string>();
  #underWay: Promise<void> | null = null;

  constructor(onFailure: (error: Error) => void) {
    this.#onFailure = onFailure;
  }

  add(consumer: Pick<KafkaConsumer, 'commit'>, partition: number, offset: string): void {
    this.#waiting.set(partition, offset);
    this.#underWay ??= this.#send(consumer).finally(() => {
      this.#underWay = null;
    });
  }

  async #send(consumer: Pick<KafkaConsumer, 'commit'>): Promise<void> {
    while (this.#waiting.size > 0) {
      const offsets = this.#waiting;
      this.#waiting = new Map();
      try {
        await consumer.commit(offsets);
      } catch (error) {
        this.#onFailure(error as Error);
        return;
      }
    }
  }

  /** Forgets what was not sent: the partitions are somebody else's, and begin where they stand. */
  clear(): void {
    this.#waiting.clear();
  }

  /** Resolves when nothing is on its way. */
  async sent(): Promise<void> {
    await this.#underWay;
  }
}
