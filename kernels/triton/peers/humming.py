"""Humming: NVFP4 weights by bf16 activations, tiles by its own heuristics.

Humming compiles a kernel for each tile when it is first called, which takes some seconds.
"""

from collections.abc import Sequence

from harness.benchmark.benchmark import Peer
from kernels.triton.peers.humming_form import Form, compiled, kinds, needed
from kernels.triton.peers.humming_layer import Layer
from kernels.triton.peers.work import Work

# Multiples that Humming pads rows and columns of a weight to. The finer needs less work, the coarser allows larger tiles.
_PADDINGS = ((128, 64), (256, 128))


def forms(work: Work) -> Sequence[Peer]:
    """Humming's ways to do this work: indexed or grouped rows, each with finer or coarser padding. Raises NotInstalled."""
    needed()
    layers: dict[tuple[int, ...], Layer] = {}
    for padding in _PADDINGS:
        layer = Layer(work, padding)
        layers.setdefault(layer.widths, layer)
    return compiled([Form(layer, rows) for layer in layers.values() for rows in kinds(work)])
