"""One question each, apart from `make bench`."""
