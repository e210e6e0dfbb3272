"""Writes what was measured into docs/performance.md."""
