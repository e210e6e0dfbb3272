"""Compares the homeserver with the stored state, and repairs what differs."""
