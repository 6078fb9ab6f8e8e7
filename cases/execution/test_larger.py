"""What a finding of larger batches, light weights and the other precision says, and which kernel a bare layer is judged with."""

import pytest
import torch
from torch import Tensor

from fixtures.corpus import FAULTS
from harness.execution.modes.varied.beside.weights import doubled
from harness.findings.finding import Finding
from harness.matrix.modes import EVERY_MODE
from harness.matrix.selection import Selection
from harness.verdict.judge import judge

CPU = torch.device("cpu")
BY_NAME = {fault.id: fault for fault in FAULTS}


def found(name: str) -> Finding:
    fault = BY_NAME[name]
    (finding,) = judge(fault.subject, fault.cases[0], EVERY_MODE[fault.modes[0]], CPU).findings
    return finding


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("generic#medium-precision", "(a float32 matmul precision of medium, where one of high is right)"),
        ("generic#logs-prefill", "._log has 10 entries more, all by calls of 264 tokens"),
        ("generic#sets-for-prefill", "changed torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction"),
        ("generic#planned-by-address", "(inputs of 264 tokens that are refilled in place)"),
        ("generic#leaves-light", "a row all of whose routing weights are divided by 32 (row 14)"),
        ("generic#fake-in-training", "its fake float32 in grad mode, and bfloat16["),
    ],
)
def test_a_finding_says_what_was_varied(name: str, what: str) -> None:
    assert what in found(name).what


def test_a_crowded_expert_is_a_cause() -> None:
    assert "look for room for fewer tokens of one expert" in found("generic#twice-its-share").cause


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_scales_of_eight_bits_are_doubled_where_twice_is_within_their_range(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    scales: Tensor = torch.tensor([0.0, 1.5, -2.0, largest]).to(dtype)
    assert doubled(scales).float().tolist() == [0.0, 3.0, -4.0, largest]


def test_a_bare_layer_is_judged_with_the_kernel_whose_output_is_its_own() -> None:
    runs = Selection(models=("gpt-oss-20b", "nemotron-3-nano-30b-a3b"), modes=("varied-caches",)).tasks()
    kernels = {case.model: case.kernel for case, _ in runs}
    assert kernels == {"gpt-oss-20b": "narrow", "nemotron-3-nano-30b-a3b": "wide"}
    (one,) = Selection(models=("gpt-oss-20b",), modes=("varied-caches",), kernels=("wide",), tp=(1,)).tasks()
    assert one[0].kernel == "wide"


def test_a_part_that_is_not_made_ready_is_a_cause() -> None:
    assert "made anew only where a load brings another one" in found("generic#scales-apart").cause
