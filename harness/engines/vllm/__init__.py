"""vLLM: its own MoE layer, runner and custom op, with a torch-written stand-in for the kernel alone.

Runs inside vLLM's environment, so it needs torch, vLLM and the standard library only; nothing here imports vLLM before
``subject.VllmLayer`` is made, and nothing imports ``kernels``, a name that transformers looks for elsewhere.
"""
