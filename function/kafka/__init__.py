"""Kafka's own client: what Dapr can't tell, such as a topic's end and a group's lag. It never consumes events."""
