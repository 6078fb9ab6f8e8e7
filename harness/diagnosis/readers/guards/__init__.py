"""Guards: a size that tracing fixed or tied, and a function that is compiled once more.

Belongs here: readers of what torch says of its own guards. May import: what readers may.
"""
