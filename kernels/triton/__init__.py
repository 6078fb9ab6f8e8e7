"""Triton: the fast kernel for Hopper behind the same op, its benchmark and its tuner.

Imports from layer, and the benchmark's peers from flashinfer too.
"""
