"""Weights: those that are made or prepared before a layer runs, and the one that a product is with.

Belongs here: readers of checks that no kernel makes, and of the names of weights. May import: what readers may.
"""
