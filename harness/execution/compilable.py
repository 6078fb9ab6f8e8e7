"""What torch.compile is given: the layer as it is part of a larger model."""

from collections.abc import Callable
from typing import Any

from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def compilable(layer: Any) -> Callable[..., Any]:
    """The layer; a function that calls it where it is a module with forward hooks of its own, or that its owner compiled.

    Dynamo makes a graph of its own of each hook of the outermost module. Inside a model, and here, they are in one graph
    with the layer. What ``layer.compile()`` made would run as it is, with a backend that shows none of its graphs.
    """
    if isinstance(layer, nn.Module) and layer._compiled_call_impl is not None:
        return lambda *inputs: layer._call_impl(*inputs)
    if not isinstance(layer, nn.Module) or not any(getattr(layer, hooks, None) for hooks in _HOOKS):
        return layer  # type: ignore[no-any-return]

    def inside(*inputs: Any) -> Any:
        return layer(*inputs)

    return inside
