"""A layer's weights: others for it, how they are loaded, and what a layer computes that got them before its first call."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from harness.execution.evidence import same_bits
from harness.execution.memory.fresh_memory import copy_of
from harness.execution.memory.wrapped import parts_of, with_parts, wraps_others
from harness.execution.modes.varied.checks import answer
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import LAYER_ERRORS

_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)  # in which scales are saved
State = dict[str, Any]  # tensors, and what get_extra_state gives
FIRST = "a layer that got the same weights before its first call"


def other_weights(layer: Any) -> State:
    """Other weights for a module: each floating tensor doubled, so that what holds the largest of the first weights is too small.

    Empty where it is no module, or has none.
    """
    state: State = layer.state_dict() if isinstance(layer, nn.Module) else {}
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    other = {name: doubled(tensor) for name, tensor in tensors.items()}
    return state | other if any(not same_bits(other[name], tensors[name]) for name in other) else {}


def doubled(tensor: Tensor) -> Tensor:
    """Twice a tensor of floating-point numbers; a copy of any other. Of numbers of 8 bits at most the largest.

    One that wraps others, such as codes and their scales, has its own of those doubled.
    """
    if wraps_others(tensor):
        return with_parts(tensor, doubled)
    if tensor.dtype in _EIGHT_BITS:
        largest = torch.finfo(tensor.dtype).max
        return (tensor.float() * 2).clamp(-largest, largest).to(tensor.dtype)
    return tensor * 2 if tensor.is_floating_point() and tensor.element_size() > 1 else copy_of(tensor)


def load(layer: Any, state: State, **options: bool) -> bool:
    """Load a copy of these weights; False where the layer raises, and then nothing can be said of loading."""
    with contextlib.suppress(*LAYER_ERRORS):
        layer.load_state_dict(copies(state), **options)
        return True
    return False


def assign(layer: Any, state: State) -> bool:
    """As where a model is built without memory, and its parameters are exchanged for those of a checkpoint."""
    return load(layer, state, assign=True)


def first_answer(varied: VariedRun, state: State) -> Tensor | None:
    """The output of a layer that got these weights before its first call; None where they do not reach the output."""
    layer, plain = varied.fresh(), answer(varied, varied.fresh())
    if not state or not load(layer, state):
        return None
    output = answer(varied, layer).snapshot
    return None if output is None or plain.snapshot is None or same_bits(output, plain.snapshot) else output


def copies(state: State) -> State:
    """A state whose values are in memory of their own."""
    return {
        name: copy_of(value) if isinstance(value, Tensor) else copy.deepcopy(value) for name, value in state.items()
    }


def named_tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A layer's parameters and buffers themselves, by name; of one that wraps others, those."""
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        yield from parts_of(name, tensor)
