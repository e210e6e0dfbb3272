"""Stands in for Matrix Authentication Service (MAS) in tests and in the demo. See README.md beside this file."""
