"""Adapters of the benchmark's peers, on a CPU: what they hand over, and what they say where a peer is missing."""

import pytest
import torch
from torch import Tensor

from fixtures.planting import SHARED
from harness.benchmark.benchmark import COLUMN, WHOLE, NotInstalled
from kernels.flashinfer.calls import Routed
from kernels.layer.nvfp4 import Nvfp4, dequantise, quantise
from kernels.layer.oracle import activated
from kernels.triton.bench import PEERS
from kernels.triton.peers import cutile
from kernels.triton.peers.work import Work

SHAPE = SHARED.shape


def work(tokens: int = 5) -> Work:
    generator = torch.Generator().manual_seed(0)

    def random(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    rows = SHAPE.intermediate * (2 if SHAPE.gated else 1)
    w13 = quantise(random(SHAPE.experts, rows, SHAPE.hidden))
    w2 = quantise(random(SHAPE.experts, SHAPE.hidden, SHAPE.intermediate))
    ids = torch.stack([torch.randperm(SHAPE.experts, generator=generator)[: SHAPE.top_k] for _ in range(tokens)])
    inputs = random(tokens, SHAPE.hidden).bfloat16(), ids.int(), random(tokens, SHAPE.top_k).abs()
    return Work(SHAPE, w13, w2, [inputs])


def as_cutile(call: Routed) -> Tensor:
    """What FlashInfer's kernel computes of the weights that it is given; its global scales multiply."""
    given = call.experts
    w13 = dequantise(Nvfp4(given.w13, given.w13_scale, 1 / given.w13_global_scale))
    w2 = dequantise(Nvfp4(given.w2, given.w2_scale, 1 / given.w2_global_scale))
    out = torch.zeros(len(call.x), call.out_width)
    for slot in range(call.ids.shape[1]):
        expert = call.ids[:, slot].long()
        inner = activated(torch.einsum("th,trh->tr", call.x.float(), w13[expert]), call.activation, SHAPE.gated)
        out += call.weights[:, slot, None] * torch.einsum("ti,thi->th", inner, w2[expert])
    return out.bfloat16()


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (1.1, False)])
def test_cutile_is_given_the_layers_weights_and_inputs(
    factor: float, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutile, "missing", lambda backend, device: "")
    monkeypatch.setattr(cutile, "cutile", lambda call: as_cutile(call) * factor)
    (peer,) = cutile.forms(work())
    whole, column = peer.error()
    assert (whole <= WHOLE and column <= COLUMN) is right


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_missing_says_what_is(name: str) -> None:
    with pytest.raises(NotInstalled, match=r"FlashInfer|flashinfer|humming"):
        PEERS[name](work())
