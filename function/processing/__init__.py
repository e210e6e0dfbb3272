"""Turns a batch of Kafka records into one result for each."""
