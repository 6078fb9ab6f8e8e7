"""The code paths of vLLM's layer that no published shape takes: their kernels, weights and adapters.

A path is a name of ``harness.matrix.paths``. ``methods.py`` chooses its quantisation method. Nothing here is imported by a
release that lacks what the path needs, unless the path is run.
"""
