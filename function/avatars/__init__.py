"""Fetches avatar images from URLs that users supplied, which are untrusted."""
