"""What a modular kernel gives its experts to write to: as much as they asked for, of their dtype, apart from all else they use."""

from math import prod
from typing import Any

from torch import Tensor

# Finite, so that a row which it reaches is wrong and not NaN: a NaN would be traced to this place, where none was made.
_LEFT = 1000.0
_SILU = "silu"


class Scratch:
    """The workspaces and the output of one call, each of the size that the experts ask for with all rows of the call.

    Raises ValueError where one is too small, of another dtype, or where the output has another shape or is no dense memory: a
    kernel would run over its end or read other bytes.
    """

    def __init__(self, experts: Any, hidden_states: Tensor, w1: Tensor, w2: Tensor, output: Tensor, given: Any) -> None:
        _, rows, inner, width, slots = experts.moe_problem_size(hidden_states, w1, w2, given["topk_ids"])
        told = given["global_num_experts"], len(w1), given["expert_tokens_meta"], given["activation"]
        *asked, wanted = experts.workspace_shapes(rows, inner, width, slots, *told)
        names, dtype = ("workspace13", "workspace2"), hidden_states.dtype
        self._parts = [_whole(name, given[name], shape, dtype) for name, shape in zip(names, asked, strict=True)]
        if (output.shape, output.dtype, output.is_contiguous()) != (wanted, dtype, True):
            raise ValueError(
                f"the experts' output is {output.dtype} {[*output.shape]} stride {[*output.stride()]}; expected {dtype} "
                f"{[*wanted]}, contiguous"
            )

    def use(self, *names: str) -> None:
        """Write to all of these workspaces, as a kernel may: what lies in one that something else needs shows."""
        for name, part in zip(("workspace13", "workspace2"), self._parts, strict=True):
            if name in names:
                part.fill_(_LEFT)


def _whole(name: str, memory: Tensor, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """The part of a workspace that the experts asked for, flat."""
    if memory.dtype != dtype or memory.numel() < prod(shape) or not memory.is_contiguous():
        raise ValueError(
            f"{name} is {memory.dtype} {[*memory.shape]}, {memory.numel():,} values; the experts asked for {dtype} "
            f"{[*shape]}, {prod(shape):,} values"
        )
    return memory.view(-1)[: prod(shape)]


def check_activation(kind: Any) -> None:
    """Raise ValueError where experts are given another activation than the layer's own, a text or an enum's member."""
    if (name := getattr(kind, "value", kind)) != _SILU:
        raise ValueError(f"the experts are given the activation {name!r}; the layer was built with {_SILU!r}")
