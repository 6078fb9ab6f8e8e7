"""Weights for FlashInfer's kernels: each layout, read back by a slow reference, holds every weight where it belongs."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.flashinfer_layouts import cutlass_matrix, matrix, trtllm_matrix
from kernels.flashinfer import weights
from kernels.flashinfer.backends import BACKENDS, CUTLASS, TRTLLM, Backend
from kernels.flashinfer.weights import INNER_SCALE, INPUT_SCALE
from kernels.layer.nvfp4 import Nvfp4, dequantise
from kernels.layer.weights import Experts, pad_experts

EXPERTS, HIDDEN, INNER, WIDE, INNER_WIDE = 3, 272, 96, 512, 128
GLOBAL_SCALES = (INPUT_SCALE, INNER_SCALE)
every_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: backend.name)
both = pytest.mark.parametrize("gated", [True, False], ids=["gated", "not-gated"])


def masters(gated: bool) -> tuple[Nvfp4, Nvfp4]:
    """Random codes and scales: every bit pattern but the scales that are not numbers."""
    generator = torch.Generator().manual_seed(1)

    def drawn(rows: int, columns: int) -> Nvfp4:
        codes = torch.randint(0, 256, (EXPERTS, rows, columns // 2), generator=generator, dtype=torch.uint8)
        scales = torch.randint(0, 127, (EXPERTS, rows, columns // 16), generator=generator, dtype=torch.uint8)
        return Nvfp4(codes, scales, torch.rand(EXPERTS, generator=generator) * 900 + 100)

    return drawn((2 if gated else 1) * INNER, HIDDEN), drawn(HIDDEN, INNER)


def prepared(backend: Backend, gated: bool) -> Experts:
    padded = pad_experts(*masters(gated), hidden=WIDE, intermediate=INNER_WIDE)
    return backend.prepare(padded, gated)


def halves(backend: Backend, experts: Experts, expert: int, gated: bool) -> tuple[Tensor, ...]:
    """Gate and up, or the one part, of one expert, and its second matrix; raw values without any global scale."""
    codes, scales = experts.w13[expert], experts.w13_scale[expert]
    second = experts.w2[expert], experts.w2_scale[expert]
    if backend is TRTLLM:
        rows = trtllm_matrix(codes, scales)
        return (*((rows[1::2], rows[0::2]) if gated else (rows,)), trtllm_matrix(*second))
    if backend is CUTLASS:
        up, *gate = cutlass_matrix(codes, scales).split(INNER_WIDE)
        return *gate, up, cutlass_matrix(*second)
    return *matrix(codes, scales).split(INNER_WIDE), matrix(*second)


def decodes(backend: Backend, experts: Experts) -> tuple[Tensor, Tensor]:
    """fp32 [E]: what a raw weight of the first and of the second matrix is multiplied by, as the scalars say."""
    first = experts.w13_global_scale[1] if backend is TRTLLM else experts.w13_global_scale
    scales = GLOBAL_SCALES if backend.quantises else (1.0, 1.0)
    return first * scales[0], experts.w2_global_scale * scales[1]


def wrong(backend: Backend, gated: bool) -> list[str]:
    """Which parts of which experts do not hold the plain weights, each half padded at its own end."""
    experts, (first, second) = prepared(backend, gated), masters(gated)
    plain, down = dequantise(first).split(INNER, 1), dequantise(second)
    names = ("gate", "up") if gated else ("up",)
    differing = []
    for expert in range(EXPERTS):
        *parts, last = halves(backend, experts, expert, gated)
        one, two = (decode[expert] for decode in decodes(backend, experts))
        wanted = {name: part[expert] for name, part in zip(names, plain, strict=True)} | {"down": down[expert]}
        for (name, plain_part), raw in zip(wanted.items(), (*(part * one for part in parts), last * two), strict=True):
            padded = torch.zeros(raw.shape)
            padded[: plain_part.shape[0], : plain_part.shape[1]] = plain_part
            if not torch.allclose(raw, padded, rtol=1e-5, atol=0):
                differing.append(f"{name} of expert {expert}")
    return differing


@every_backend
@both
def test_every_weight_is_where_the_layout_says(backend: Backend, gated: bool) -> None:
    assert wrong(backend, gated) == []


@contextmanager
def replaced(name: str, value: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, name, value)
        yield


FAULTS = {
    "gate before up": (TRTLLM, "up_gate_rows", lambda rows: torch.arange(rows).view(2, -1).T.flatten(), ("gate", "up")),
    "not interleaved": (TRTLLM, "up_gate_rows", lambda rows: torch.arange(rows), ("gate", "up")),
    "not shuffled": (TRTLLM, "shuffled_rows", lambda rows: torch.arange(rows), ("gate", "up", "down")),
    "shuffled the other way": (
        TRTLLM, "shuffled_rows", lambda rows: torch.arange(rows).view(-1, 4, 8).transpose(1, 2).flatten(), ("gate", "up", "down"),
    ),
    "trtllm not swizzled": (TRTLLM, "swizzle_128x4", lambda scales: scales, ("gate", "up", "down")),
    "gate over up": (CUTLASS, "up_over_gate", lambda stack, gated: stack, ("gate", "up")),
    "cutlass not swizzled": (CUTLASS, "swizzle_128x4", lambda scales: scales, ("gate", "up", "down")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_layout_is_seen(fault: str) -> None:
    backend, name, value, parts = FAULTS[fault]
    with replaced(name, value):
        assert {name.partition(" ")[0] for name in wrong(backend, True)} == set(parts)


@every_backend
def test_halves_padded_at_their_common_end_are_seen(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.layer import weights

    pad_parts = weights.pad_parts
    monkeypatch.setattr(weights, "pad_parts", lambda x, rows, columns, parts: pad_parts(x, parts * rows, columns, 1))
    assert any(name.startswith("up") for name in wrong(backend, True))


@both
def test_the_intermediates_scale_is_taken_in_where_it_is_taken_out(gated: bool) -> None:
    output1, gate = prepared(TRTLLM, gated).w13_global_scale
    wanted = gate * INNER_SCALE if gated else torch.full_like(gate, INNER_SCALE)
    torch.testing.assert_close(output1, wanted)


def test_flashinfers_own_helpers_order_rows_alike() -> None:
    if find_spec("flashinfer") is None:
        pytest.skip("flashinfer is not installed")
    from harness.engines.declared.engines.flashinfer import ENGINE
    from harness.engines.declared.source.sites import package

    names: dict[str, Any] = {"torch": torch}
    source = (package(ENGINE) / "utils.py").read_text("utf-8")
    # FlashInfer's package imports what is not here; these functions and tables of it stand alone.
    exec(
        source[source.index("srcToDstBlk16RowMap = ") : source.index("def get_shuffle_matrix_sf_a_row_indices")], names
    )
    core = (package(ENGINE) / "fused_moe" / "core.py").read_text("utf-8")
    start = core.index("def get_reorder_rows_for_gated_act_gemm_row_indices")
    exec(core[start : core.index("def reorder_rows_for_gated_act_gemm(")], names)
    rows = torch.arange(256)[:, None]
    shuffled = names["get_shuffle_matrix_a_row_indices"](rows, 128)
    assert torch.equal(weights.shuffled_rows(256), shuffled)
    # Theirs take [up; gate], ours [gate; up].
    up_gate = torch.cat((rows[128:], rows[:128]))[names["get_reorder_rows_for_gated_act_gemm_row_indices"](rows)]
    assert torch.equal(weights.up_gate_rows(256), up_gate.flatten())
