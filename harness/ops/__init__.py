"""Ops: custom ops and what torch knows of them.

Belongs here: the registry, signatures, a call's arguments, calling a fake, tensor metadata, the strict all-reduce.
May import: base, matrix.
"""
