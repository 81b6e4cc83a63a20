import globalSetup from './global-setup.ts';
import { kafkaChain } from './kafka-chain.ts';

/** Kafka and Connect start before the files that all need them: the first start of a machine fetches jars. */
export default async function kafkaSetup(): Promise<void> {
  await globalSetup();
  await kafkaChain();
}
