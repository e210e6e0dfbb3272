"""Logs, metrics and traces; holds no personal data."""
