"""Ops: custom ops and what torch knows of them.

Belongs here: the registry, signatures, the arguments of a call, calling a fake, tensor metadata, the strict all-reduce.
May import: base, matrix.
"""
