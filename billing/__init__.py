"""The rules of billing, pure: no clock, no randomness, no I/O, no async; everything they need is passed in."""
