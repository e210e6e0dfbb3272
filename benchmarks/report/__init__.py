"""Writes the figures into docs/performance.md."""
