"""Writes the contract for producers, docs/contract, from the code: JSON schemas, and an AsyncAPI document of the topic."""
