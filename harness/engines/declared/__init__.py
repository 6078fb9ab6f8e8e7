"""Ops that an engine declares in Python: found in its source, captured without a GPU, and audited against their fakes.

One mechanism serves every engine. ``engine.py`` says what a description holds; ``engines/`` has one for each engine.
"""
