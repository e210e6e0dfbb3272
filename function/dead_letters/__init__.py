"""Rejected events: published with a reason, read, filtered and replayed."""
