"""Texts that stand in for what a machine lacks: the capture of a CUDA graph, and the other ranks of a reduction."""
