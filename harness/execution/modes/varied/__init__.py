"""Varied: eager calls of one layer in which one thing is changed at a time, after a plain call that is right.

Each module is a mode and runs the groups of ``harness.matrix.variations`` that name it, one function for each group.
"""
