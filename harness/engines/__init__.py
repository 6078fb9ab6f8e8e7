"""Engines: layers and ops that somebody else ships.

Belongs here: a room for each engine: its releases, its environment, its layer as a subject or its ops for the audit.
May import: base to benchmark.
"""
