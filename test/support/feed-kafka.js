/** Worlds of this run follow the database through Debezium and Kafka. */
process.env.TEST_FEED = 'kafka';
