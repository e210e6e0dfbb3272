"""Talks to Synapse; the only package that does."""
