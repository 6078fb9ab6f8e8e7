"""Output: one verdict, many renderers.

Belongs here: terminal text and tables, progress, JSON records.
May import: base to workers. rich belongs here and at the edge.
"""
