"""Benchmark: kernels timed on a CUDA device.

Belongs here: how calls are timed, and the cells of the table.
May import: base to selftest.
"""
