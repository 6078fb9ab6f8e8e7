"""Weights that are made or prepared, before a layer runs.

Belongs here: readers of checks that no kernel makes. May import: what readers may.
"""
