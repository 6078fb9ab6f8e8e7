"""vLLM: its own MoE layer, runner and custom op. Only the kernel is a stand-in, written in torch.

It runs inside vLLM's environment, so it needs only torch, vLLM and the standard library. Nothing here imports vLLM before
``subject.VllmLayer`` is constructed. Nothing imports ``kernels``, since transformers looks for another package of that name.
"""
