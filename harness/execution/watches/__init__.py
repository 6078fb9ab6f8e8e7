"""Watches of a second look: where padding moves into rows, and which rows no reduction sums."""
