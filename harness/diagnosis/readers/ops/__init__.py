"""Custom ops, and what of them speaks of padding.

Belongs here: readers of what torch refuses of an op. May import: what readers may.
"""
