"""Faults of kernels on the device, which CUDA reports late.

Belongs here: readers of a memory fault or an assertion in a kernel. May import: what readers may.
"""
