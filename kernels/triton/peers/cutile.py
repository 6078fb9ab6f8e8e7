"""FlashInfer's cuTile kernel (``flashinfer-python`` and ``cuda-tile``): NVFP4 weights by bf16 activations.

The call is that of the project's FlashInfer subject. FlashInfer chooses the tiles, and compiles them at the first call.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from harness.benchmark.benchmark import NotInstalled, Peer
from kernels.flashinfer.backends import CUTILE, missing
from kernels.flashinfer.calls import Routed
from kernels.flashinfer.cutile import cutile
from kernels.flashinfer.weights import for_cutile
from kernels.layer.weights import Experts
from kernels.triton.peers.work import Inputs, Work, errors, oracle

_FORM = "FlashInfer's own tiles"


def forms(work: Work) -> Sequence[Peer]:
    """The one way to do this work. Raises NotInstalled where FlashInfer, its compiler or a device for it is missing."""
    if why := missing(CUTILE, work.device):
        raise NotInstalled(why)
    given = for_cutile(_experts(work), work.shape.gated)
    calls = [partial(_call, work, given, one) for one in work.inputs]
    return [Peer(_FORM, calls, lambda: errors(calls[0](), oracle(work, work.inputs[0])))]


def _experts(work: Work) -> Experts:
    first, second = work.w13, work.w2
    return Experts(
        first.codes, first.scales, first.global_scale, second.codes, second.scales, second.global_scale
    )  # fmt: skip


def _call(work: Work, given: Experts, one: Inputs) -> Tensor:
    shape = work.shape
    return cutile(Routed(*one, given, shape.activation, shape.intermediate, shape.hidden))
