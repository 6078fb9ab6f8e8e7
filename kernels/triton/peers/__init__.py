"""Peers: other kernels that do the same work, for ``harness bench --peers``. One small adapter for each.

Belongs here: an adapter for each peer, and the glue that a peer's products need to be a whole layer.
May import: harness, kernels.layer, kernels.flashinfer, and of kernels.triton what is not the benchmark.
"""
