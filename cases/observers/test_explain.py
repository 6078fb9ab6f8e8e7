"""The one message, golden: everything that a reader needs, and a command that shows it again."""

# ruff: noqa: E501 - golden texts are as long as they are

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import pytest
import torch
from expecttest import assert_expected_inline
from torch import Tensor

from harness.base.exception_text import user_line
from harness.cli import parser
from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES, VARIED, by_default
from harness.matrix.selection import Selection
from harness.output.report import finding_text
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU = torch.device("cpu")


class Faulty(PaddedMoELayer):
    """Its steps written out here, so that the lines in the texts are this file's."""

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        return routed if shared is None else shared + routed


class NoUnpad(Faulty):
    def unpad(self, x: Tensor) -> Tensor:
        return x


class Strided(Faulty):
    def dense(self, x: Tensor) -> Tensor:
        return x

    def reduce(self, x: Tensor) -> Tensor:
        return super().reduce(x)


class Planted(InTree):
    """The in-tree subject with another class of layer."""

    def __init__(self, layer: type[PaddedMoELayer]) -> None:
        self.layer = layer

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        built = super().build(case, device)
        built.__class__ = self.layer
        return built


def case_of(model: str, kernel: str = "wide", tp: int = 1) -> Case:
    options: dict[str, Any] = {"rules": ("trtllm-nvfp4",), "kernels": (kernel,), "tp": (tp,), "modes": ("eager",)}
    (case,) = Selection(models=(model,), **options).cases()
    return case


def judged(layer: type[PaddedMoELayer], case: Case, mode: str) -> Verdict:
    return judge(Planted(layer), case, MODES[mode], CPU)


def text_of(verdict: Verdict) -> str:
    """The first finding in words; numbers of lines and symbols as N, and lines of the layer left out, as they may change."""
    assert verdict.findings, verdict.traceback or verdict.status
    text = re.sub(r"(\.py):\d+", r"\1:N", finding_text(verdict, verdict.findings[0]))
    text = re.sub(r"\bs\d+\b", "sN", text)
    return re.sub(r"(kernels/\w+/\w+\.py:N): .*", r"\1: ...", text)


def chosen(command: str) -> list[tuple[Case, Any]]:
    """What an ``again`` command selects."""
    program, *arguments = shlex.split(command)
    assert program == "harness"
    given = vars(parser().parse_args(arguments))
    return Selection(**{field.name: given[field.name] for field in fields(Selection) if given.get(field.name)}).tasks()


def test_a_missing_unpad_in_eager() -> None:
    assert_expected_inline(
        text_of(judged(NoUnpad, case_of("nemotron-3-nano-30b-a3b"), "eager")),
        """\
width-mismatch at shared add: nemotron-3-nano-30b-a3b, eager
  case        nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp1-tokens7
  found by    widths, in the first call
  what        add of 7x2688 and 7x2816 (The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1)
  width       2688 = hidden (made by shared expert, kernels/layer/layer.py:N)
  width       2816 = 2688 rounded up to 256, trtllm-nvfp4 (made by pad, unchanged through routed scaling, kernels/layer/layer.py:N)
  line        cases/observers/test_explain.py:N: return routed if shared is None else shared + routed
  called from kernels/layer/layer.py:N: ...
  cause       The padding was not cut off before the shared add: 2816 = 2688 rounded up to 256, trtllm-nvfp4.
  similar to  vllm#35949 (fixed by vllm#40794)
  similar to  vllm#41184 (fixed by vllm#45707)
  see         harness docs width-mismatch
  reproduce   harness check --models nemotron-3-nano-30b-a3b --modes eager --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7
  script      harness repro --models nemotron-3-nano-30b-a3b --modes eager --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7""",
    )


def test_a_missing_unpad_in_a_fake_trace() -> None:
    assert_expected_inline(
        text_of(judged(NoUnpad, case_of("nemotron-3-nano-30b-a3b"), "fake")),
        """\
width-mismatch at shared add: nemotron-3-nano-30b-a3b, fake
  case        nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp1-tokens7
  found by    widths, in the trace
  what        add of 7x2688 and 7x2816 (Attempting to broadcast a dimension of length 2816 at -1! Mismatching argument at index 1 had torch.Size([7, 2816]); but expected shape should be broadcastable to [7, 2688])
  width       2688 = hidden (made by shared expert, kernels/layer/layer.py:N)
  width       2816 = 2688 rounded up to 256, trtllm-nvfp4 (made by pad, unchanged through routed scaling, kernels/layer/layer.py:N)
  line        cases/observers/test_explain.py:N: return routed if shared is None else shared + routed
  called from kernels/layer/layer.py:N: ...
  cause       The padding was not cut off before the shared add: 2816 = 2688 rounded up to 256, trtllm-nvfp4.
  similar to  vllm#35949 (fixed by vllm#40794)
  similar to  vllm#41184 (fixed by vllm#45707)
  see         harness docs width-mismatch
  reproduce   harness check --models nemotron-3-nano-30b-a3b --modes fake-static --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7
  script      harness repro --models nemotron-3-nano-30b-a3b --modes fake-static --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7""",
    )


def test_a_missing_unpad_in_dynamo() -> None:
    verdict = judged(NoUnpad, case_of("nemotron-3-nano-30b-a3b"), "compiled-dynamic")
    assert_expected_inline(
        text_of(verdict),
        """\
width-mismatch at shared add: nemotron-3-nano-30b-a3b, compiled-dynamic
  case        nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp1-tokens7
  found by    widths, in the first call
  what        add of s26x2688 and s26x2816 (The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1))
  width       2688 = hidden (made by shared expert, kernels/layer/layer.py:N)
  width       2816 = 2688 rounded up to 256, trtllm-nvfp4 (made by pad, unchanged through routed scaling, kernels/layer/layer.py:N)
  line        cases/observers/test_explain.py:N: return routed if shared is None else shared + routed
  cause       The padding was not cut off before the shared add: 2816 = 2688 rounded up to 256, trtllm-nvfp4.
  similar to  vllm#35949 (fixed by vllm#40794)
  similar to  vllm#41184 (fixed by vllm#45707)
  see         harness docs width-mismatch
  reproduce   harness check --models nemotron-3-nano-30b-a3b --modes compiled-dynamic --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7
  script      harness repro --models nemotron-3-nano-30b-a3b --modes compiled-dynamic --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7""",
    )


def test_a_missing_unpad_without_a_shared_expert() -> None:
    assert_expected_inline(
        text_of(judged(NoUnpad, case_of("gpt-oss-20b"), "fake-dynamic")),
        """\
wrong-shape at unpad: gpt-oss-20b, fake-dynamic
  case        gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-wide-tp1-tokens7
  found by    widths, in the symbolic trace
  what        the output is bfloat16[sN, 3072] stride [3072, 1]; expected shape [sN, 2880]
  width       3072 = 2880 rounded up to 256, trtllm-nvfp4 (made by pad, unchanged through routed experts, kernels/layer/layer.py:N)
  line        kernels/layer/layer.py:N: ...
  cause       The padding was not cut off.
  see         harness docs wrong-shape
  reproduce   harness check --models gpt-oss-20b --modes fake-dynamic --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7
  script      harness repro --models gpt-oss-20b --modes fake-dynamic --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7""",
    )


def test_a_fake_of_the_padded_width_for_a_narrow_kernel() -> None:
    with routed_experts.planted(fake=lambda *args: args[0].new_empty(args[0].shape)):
        verdict = judged(Faulty, case_of("gpt-oss-20b", "narrow"), "compiled")
    assert_expected_inline(
        text_of(verdict),
        """\
fake-differs at routed experts: gpt-oss-20b, compiled
  case        gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-narrow-tp1-tokens7
  found by    contract, in the first call
  what        padded_moe::routed_experts gave size 2880 and stride 1 at dim 1; its fake size 3072 and stride 1 (expected size 7==7, stride 2880==3072 at dim=0; expected size 2880==3072, stride 1==1 at dim=1)
  width       2880 = hidden (made by routed experts)
  width       3072 = 2880 rounded up to 256, trtllm-nvfp4 (made by routed experts)
  line        kernels/layer/layer.py:N: ...
  cause       The kernel and its fake implementation disagree, so compiled code would read the output wrongly.
  similar to  vllm#41645 (fixed by vllm#41646)
  see         harness docs fake-differs
  reproduce   harness check --models gpt-oss-20b --modes compiled-static --rules trtllm-nvfp4 --kernels narrow --tp 1 --tokens 7
  script      harness repro --models gpt-oss-20b --modes compiled-static --rules trtllm-nvfp4 --kernels narrow --tp 1 --tokens 7""",
    )


def test_a_strided_tensor_in_the_all_reduce() -> None:
    assert_expected_inline(
        text_of(judged(Strided, case_of("gpt-oss-20b", tp=2), "eager")),
        """\
not-contiguous at all-reduce: gpt-oss-20b, eager
  case        gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-wide-tp2-tokens7
  found by    collectives, in the first call
  what        the all-reduce was given bfloat16[7, 2880] stride [3072, 1], a view that is not contiguous: view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead.
  width       2880 = hidden (made by unpad, kernels/layer/layer.py:N)
  line        kernels/layer/layer.py:N: ...
  called from cases/observers/test_explain.py:N: return super().reduce(x)
  cause       A slice, such as the one that cuts the padding off, is a view. Make it contiguous before the collective.
  similar to  vllm#40794 (fixed by vllm#40865)
  see         harness docs not-contiguous
  reproduce   harness check --models gpt-oss-20b --modes eager --rules trtllm-nvfp4 --kernels wide --tp 2 --tokens 7
  script      harness repro --models gpt-oss-20b --modes eager --rules trtllm-nvfp4 --kernels wide --tp 2 --tokens 7""",
    )


def test_a_strided_tensor_in_the_all_reduce_of_compiled_code() -> None:
    assert_expected_inline(
        text_of(judged(Strided, case_of("gpt-oss-20b", tp=2), "compiled")),
        """\
not-contiguous at all-reduce: gpt-oss-20b, compiled
  case        gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-wide-tp2-tokens7
  found by    collectives, in the first call
  what        the all-reduce was given bfloat16[7, 2880] stride [3072, 1], a view that is not contiguous: view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead.
  width       2880 = hidden (made by unpad, kernels/layer/layer.py:N)
  line        kernels/layer/layer.py:N: ...
  cause       A slice, such as the one that cuts the padding off, is a view. Make it contiguous before the collective.
  similar to  vllm#40794 (fixed by vllm#40865)
  see         harness docs not-contiguous
  reproduce   harness check --models gpt-oss-20b --modes compiled-static --rules trtllm-nvfp4 --kernels wide --tp 2 --tokens 7
  script      harness repro --models gpt-oss-20b --modes compiled-static --rules trtllm-nvfp4 --kernels wide --tp 2 --tokens 7""",
    )


@pytest.mark.parametrize("mode", [mode.name for mode in by_default(cuda=False)])
@pytest.mark.parametrize(("model", "tp"), [("nemotron-3-nano-30b-a3b", 1), ("synthetic-latent-padded", 2)])
def test_the_reproduce_command_selects_that_case_and_mode(model: str, tp: int, mode: str) -> None:
    case = case_of(model, tp=tp)
    case = case.small() if MODES[mode].family == VARIED else case
    verdict = judged(NoUnpad, case, mode)
    assert verdict.reproduce in text_of(verdict)
    ((again, info),) = chosen(verdict.reproduce)
    assert (again, info.name) == (case, mode)


@pytest.mark.parametrize("full", [False, True])
def test_the_reproduce_command_keeps_another_hidden_size_and_full_sizes(full: bool) -> None:
    options: dict[str, Any] = {"rules": ("cutlass-nvfp4",), "kernels": ("wide",), "tp": (1,), "tokens": (3,)}
    (case,) = Selection(models=("gpt-oss-20b",), hidden=(2720,), full=full, **options).cases()
    command = judge(_Unbuilt(), case, MODES["compiled"], CPU, "my.layers:Layer").reproduce
    assert [(again, info.name) for again, info in chosen(command)] == [(case, "compiled")]
    assert "--subject my.layers:Layer" in command.replace("'", "")


class _Unbuilt(InTree):
    """Fails before it takes any memory."""

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        raise ValueError("no weights for this layout")


def test_a_layer_that_cannot_be_built_is_a_finding_with_the_users_line() -> None:
    verdict = judge(_Unbuilt(), case_of("gpt-oss-20b"), MODES["eager"], CPU)
    assert_expected_inline(
        text_of(verdict),
        """\
not-built at weight preparation: gpt-oss-20b, eager
  case        gpt-oss-20b-hidden2880-padded3072-trtllm-nvfp4-wide-tp1-tokens7
  found by    build
  what        ValueError: no weights for this layout
  line        cases/observers/test_explain.py:N: raise ValueError("no weights for this layout")
  cause       The layer could not be built for this case. Check how its weights are prepared, padded and registered.
  see         harness docs not-built
  reproduce   harness check --models gpt-oss-20b --modes eager --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7
  script      harness repro --models gpt-oss-20b --modes eager --rules trtllm-nvfp4 --kernels wide --tp 1 --tokens 7""",
    )


def test_every_finding_names_case_mode_stage_line_and_cause() -> None:
    verdict = judged(NoUnpad, case_of("nemotron-3-nano-30b-a3b"), "eager")
    (finding,) = verdict.findings
    text = finding_text(verdict, finding)
    assert finding.line is not None
    assert finding.line.file == "cases/observers/test_explain.py"
    assert "shared + routed" in finding.line.text
    for part in (verdict.case, verdict.mode, finding.stage, str(finding.line), finding.cause, *finding.similar_to):
        assert part in text
    assert ["reproduce", verdict.reproduce] in [line.split(maxsplit=1) for line in text.splitlines()]
    assert "2816 = 2688 rounded up to 256, trtllm-nvfp4 (made by pad" in text


def test_a_line_of_the_standard_library_is_not_taken_for_the_user_s() -> None:
    with pytest.raises(RuntimeError) as raised, ThreadPoolExecutor(1) as pool:
        pool.submit(torch.zeros(2).view, 3).result()
    line = user_line(raised.value)
    assert line is not None
    assert "pool.submit(torch.zeros(2).view, 3)" in line.text


class OnTwoDevices(Faulty):
    """Adds a bias that another device holds, as a buffer that was not moved."""

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        moved = hidden_states + torch.zeros(hidden_states.shape[1], dtype=hidden_states.dtype, device="meta")
        return super().forward(moved, topk_ids, topk_weights)


def test_two_devices_are_no_two_widths() -> None:
    verdict = judged(OnTwoDevices, case_of("gpt-oss-20b"), "eager")
    (finding,) = verdict.findings
    assert (finding.kind, finding.detail["failure"]) == ("raised", "device-mismatch"), finding
    assert finding.cause.startswith("Two tensors on different devices meet"), finding.cause
    assert "widths" not in finding.what + finding.cause
