"""Which of a layer's tensors its calls write to, such as a buffer that was made for so many tokens."""

from contextlib import suppress

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from harness.execution.evidence import same_bits
from harness.execution.memory.fresh_memory import copy_of
from harness.execution.memory.reachable import reachable_tensors
from harness.execution.rig import LAYER_ERRORS, Rig


def written_memory(rig: Rig) -> list[Tensor]:
    """The tensors within reach of a fresh layer that a real call changes. Raises Skip and BuildFailed as a build does."""
    layer = rig.start().layer
    _call(rig, layer, 0)  # what the first call makes is within reach after it
    real = [tensor for tensor in reachable_tensors(layer) if not isinstance(tensor, FakeTensor)]
    before = [copy_of(tensor) for tensor in real]
    _call(rig, layer, 1)
    return [tensor for tensor, old in zip(real, before, strict=True) if not same_bits(old, tensor)]


def _call(rig: Rig, layer: object, seed: int) -> None:
    assert callable(layer)
    with suppress(*LAYER_ERRORS):
        layer(*rig.inputs(max(rig.case.tokens, 2), seed))
