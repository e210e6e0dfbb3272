"""Turns the bytes of a Kafka record into a typed event. Pure."""
