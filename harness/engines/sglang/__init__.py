"""SGLang: its own MoE layer, the model's block around it and its custom ops. Only the kernel is a stand-in, written in torch.

It runs inside SGLang's environment, so it needs only torch, SGLang and the standard library. Nothing here imports SGLang
before ``subject.SglangLayer`` is constructed.
"""
