"""Engines: layers and ops of other projects.

Belongs here: a room for each engine, with its releases, its environment, and its layer as a subject or its ops for the audit.
May import: base to benchmark.
"""
