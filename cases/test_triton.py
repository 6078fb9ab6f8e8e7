"""The Triton kernel: its weight layout in plain torch, and its kernels in Triton's interpreter."""

import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import pytest
import torch

from kernels.nvfp4 import dequantise, quantise
from kernels.triton_config import Sizes, choose
from kernels.triton_experts import OP, triton_experts
from kernels.triton_pack import pack_matrices, to_e5m3, unpack_matrices

CHECKS = (
    "relu2", "silu-two-steps", "clamped-padded", "gelu-narrow", "one-expert", "no-expert", "shared", "no-token",
)  # fmt: skip
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


@pytest.mark.parametrize("columns", [16, 48, 128, 272])
def test_the_layout_keeps_every_weight(columns: int) -> None:
    weight = quantise(torch.randn(3, 40, columns, generator=torch.Generator().manual_seed(columns)))
    torch.testing.assert_close(unpack_matrices(pack_matrices(weight), columns), dequantise(weight), rtol=1e-6, atol=0)


def test_every_scale_survives_its_new_bits() -> None:
    scales = torch.arange(1, 127, dtype=torch.uint8)
    byte = to_e5m3(scales).int()
    again = torch.exp2((byte >> 3) - 10.0) * (1 + (byte & 7) / 8)
    assert torch.equal(again, scales.view(torch.float8_e4m3fn).float())


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


@pytest.mark.parametrize("tokens", [1, 8, 64, 256, 1024, 4096, 9999])
@pytest.mark.parametrize("hidden", [2688, 640])
def test_every_size_has_tiles(hidden: int, tokens: int) -> None:
    config = choose(Sizes(hidden, 1856, 128, 6, False), tokens)
    assert config.bm >= 16
    assert config.first.bn >= 16 <= config.second.bn


@cache
def interpreted() -> dict[str, float]:
    """Each check's error. A process of its own: Triton reads the variable when it is imported."""
    command = [sys.executable, "-m", "cases.triton_interpreted"]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {row["check"]: row["error"] for row in map(json.loads, done.stdout.splitlines())}


@needs_triton
@pytest.mark.xdist_group("triton")
@pytest.mark.parametrize("check", CHECKS)
def test_the_kernel_agrees_with_the_oracle(check: str) -> None:
    # Triton's interpreter cuts where a GPU rounds to bf16: twice as coarse. A wrong block of 16 columns is above 0.1.
    assert interpreted()[check] < 5e-2
