"""Holds measurements that answer one question each and are not part of `make bench`."""
