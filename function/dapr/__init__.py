"""Talks to daprd; the only package that knows the Dapr SDK."""
