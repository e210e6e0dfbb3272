"""Starts and stops the servers of the local stack."""
