"""Benchmark: kernels timed on a CUDA device.

Belongs here: how calls are timed, and what a cell of the table is.
May import: base to selftest.
"""
