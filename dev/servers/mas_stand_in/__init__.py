"""Stands in for Matrix Authentication Service (MAS) in tests and in the demo. README.md in this folder says what it does."""
