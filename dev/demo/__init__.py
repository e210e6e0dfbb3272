"""Sends about twenty events, of every type and wire format, through the real stack, and shows each event's outcome and the
accounts at the end: `make demo`, or `make demo MAS=1` before the stand-in for Matrix Authentication Service."""
