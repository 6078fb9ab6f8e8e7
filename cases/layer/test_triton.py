"""The Triton kernel: its weight layout in plain torch, and its kernels in Triton's interpreter."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from kernels.layer.nvfp4 import dequantise, quantise
from kernels.triton.config import Sizes, choose, parse
from kernels.triton.experts import OP, triton_experts
from kernels.triton.pack import pack_matrices, to_e5m3, unpack_matrices

CONFIG = [32, 64, 4, 3, 1, 64, 4, 3, 1]
CHECKS = (
    "relu2", "silu-two-steps", "split", "split-beyond", "one-token", "one-token-split", "one-token-no-expert",
    "one-launched", "one-launched-shared", "one-launched-relu2", "one-launched-no-expert",
    "clamped-padded", "gelu-narrow", "one-expert", "half-blocks", "no-expert", "shared", "no-token",
    "glue-blocks", "glue-blocks-of-one-token", "glue-permuted", "wide-ids", "blocks", "longer-blocks", "longer-blocks-of-one",
    "marlin", "marlin-gated", "marlin-one-token", "humming", "humming-one-token",
    "humming-fp8", "humming-fp8-gelu", "humming-fp8-one-token",
)  # fmt: skip
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


@pytest.mark.parametrize("columns", [16, 48, 128, 272])
def test_the_layout_keeps_every_weight(columns: int) -> None:
    weight = quantise(torch.randn(3, 40, columns, generator=torch.Generator().manual_seed(columns)))
    torch.testing.assert_close(unpack_matrices(pack_matrices(weight), columns), dequantise(weight), rtol=1e-6, atol=0)


def test_every_scale_survives_its_new_bits() -> None:
    scales = torch.arange(1, 127, dtype=torch.uint8)
    byte = to_e5m3(scales).int()
    decoded = torch.exp2((byte >> 3) - 10.0) * (1 + (byte & 7) / 8)
    assert torch.equal(decoded, scales.view(torch.float8_e4m3fn).float())


def test_codes_under_a_zero_scale_become_zero() -> None:
    weight = quantise(torch.randn(1, 4, 32))
    weight.scales[:, 1] = 0
    assert not pack_matrices(weight).words[0, 0, 1].any()


def test_the_fake_says_what_the_op_gives() -> None:
    arguments = next(iter(triton_experts.samples(torch.device("cpu"))))  # type: ignore[misc]
    fake = triton_experts.fake(*(x.to("meta") if isinstance(x, torch.Tensor) else x for x in arguments))
    assert fake.shape == (3, 48)
    assert fake.dtype == torch.bfloat16
    assert triton_experts.name == OP


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_hidden_states_of_another_type_are_refused_in_a_line(kind: torch.dtype) -> None:
    hidden, ids, *others = next(iter(triton_experts.samples(torch.device("cpu"))))  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"expected bfloat16 hidden_states, got torch.float\d\d; convert them with .*$"):
        triton_experts.overload(hidden.to(kind), ids, *others)
    with pytest.raises(TypeError, match=r"expected topk_ids of an integer type, got torch\.float32"):
        triton_experts.overload(hidden, ids.float(), *others)


@pytest.mark.parametrize("tokens", [1, 8, 64, 256, 1024, 4096, 9999])
@pytest.mark.parametrize("hidden", [2688, 640])
def test_every_size_has_tiles(hidden: int, tokens: int) -> None:
    config = choose(Sizes(hidden, 1856, 128, 6, False), tokens)
    assert config.bm >= 8
    assert config.first.bn >= 16 <= config.second.bn


def interpreted(*checks: str) -> dict[str, float]:
    """Each check's error. A process of its own: Triton reads the variable when it is imported."""
    command = [sys.executable, "-m", "fixtures.triton_interpreted", *checks]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {row["check"]: row["error"] for row in map(json.loads, done.stdout.splitlines())}


def product_for(capability: int, first: bool, config: list[int] = CONFIG) -> Any:
    """A grouped product compiled for a compute capability that this machine need not have."""
    import triton
    from triton.backends.compiler import GPUTarget

    from kernels.triton.gemm import grouped_product

    pointers = {"x_ptr": "*bf16", "words_ptr": "*i16", "scales_ptr": "*i32", "decode_ptr": "*fp32", "out_ptr": "*bf16"}
    pointers |= dict.fromkeys(("ids_ptr", "pairs_ptr", "blocks_ptr", "count_ptr"), "*i32")
    tiles = parse(config).first
    constants = {"K": 2880, "E": 32, "TOP_K": 4, "FIRST": first, "GATED": first, "ACTIVATION": "clamped-swiglu"}
    constants |= {"BM": config[0], "BN": tiles.bn, "SPLIT": 1, "STAGES": tiles.stages, "SORTED": True, "ASM": True}
    names = grouped_product.arg_names
    signature = {name: pointers.get(name, "constexpr" if name in constants else "i32") for name in names}
    source = triton.compiler.ASTSource(
        fn=grouped_product,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(place,): [["tt.divisibility", 16]] for place in range(len(names) - len(constants))},
    )
    options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@needs_triton
@pytest.mark.timeout(900)
@pytest.mark.sampled(3)
@pytest.mark.parametrize("part", range(3))
def test_the_kernel_agrees_with_the_oracle(part: int) -> None:
    """A process for many checks: each would start its own, and they are a minute of the interpreter together."""
    checks = CHECKS[part::3]
    errors = interpreted(*checks)
    assert set(errors) == set(checks)
    # Triton's interpreter cuts where a GPU rounds to bf16: twice as coarse. A wrong block of 16 columns is above 0.1.
    assert not {check: error for check, error in errors.items() if not error < 5e-2}


@pytest.mark.parametrize("limit", [99 * 1024, 163 * 1024, 227 * 1024])
@pytest.mark.parametrize("gated", [False, True])
def test_a_config_fits_in_the_memory_of_a_device(limit: int, gated: bool) -> None:
    wanted = parse([64, 128, 4, 5, 1, 256, 8, 4, 1])
    fitted = wanted.within(limit, gated)
    for tiles, given, halves in ((fitted.first, wanted.first, 2 if gated else 1), (fitted.second, wanted.second, 1)):
        assert tiles.memory(64, halves) <= limit
        assert (tiles == given) == (given.memory(64, halves) <= limit)
    assert wanted.within(float("inf"), gated) == wanted


@needs_triton
@pytest.mark.parametrize(("rows", "parts"), [(8 * 768, 4), (4 * 2880, 2), (8 * 2048, 1), (64, 8)])
def test_one_token_takes_as_many_parts_as_leave_few_programs(rows: int, parts: int) -> None:
    from kernels.triton.one_launch import PROGRAMS, ROWS, parts_of_first, takes_one

    assert parts_of_first(rows) == parts
    assert rows * parts // ROWS <= PROGRAMS
    assert [k for k in range(1, 10) if takes_one(1, k)] == [2, 4, 8]
    assert not takes_one(2, 4)


@needs_triton
@pytest.mark.xdist_group("triton")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("capability", [80, 90, 100, 120])
def test_a_product_compiles_for_each_architecture_without_one(capability: int, first: bool) -> None:
    compiled = product_for(capability, first)
    assert re.search(r"mma", compiled.asm["ptx"])
    assert compiled.metadata.shared <= parse(CONFIG).first.memory(CONFIG[0], 2 if first else 1)


@needs_triton
@pytest.mark.xdist_group("triton")
def test_the_most_memory_holds_for_the_largest_tiles() -> None:
    """On a Hopper GPU a fourth stage of these fits or does not, by the release of Triton."""
    largest = [128, 256, 8, 4, 1, 256, 8, 4, 1]
    assert product_for(90, False, largest).metadata.shared <= parse(largest).first.memory(128, 1)
