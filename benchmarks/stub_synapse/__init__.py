"""Runs a homeserver that costs next to nothing, so that a benchmark measures the system under test."""
