"""Builds what a release publishes: `make release`. See docs/releasing.md."""
