"""Keeps Matrix accounts in step with an identity service: events from Kafka, through Dapr, become calls on Synapse."""

from importlib.metadata import version

__version__ = version("matrix-account-sync")
