"""Engines: one description each."""
