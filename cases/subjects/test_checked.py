"""A subject's methods: what they may return, and the one line where they return something else."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from fixtures.planting import SHARED
from harness.base.errors import Skip
from harness.findings.finding import ERROR, SKIPPED
from harness.matrix.modes import MODES
from harness.subjects.checked import CheckedSubject, SubjectError
from harness.verdict.judge import judge
from kernels.layer.subject import InTree

CPU = torch.device("cpu")


def returns(method: str, value: Any) -> InTree:
    """The in-tree subject with one method that returns something else."""
    function = value if callable(value) and method != "build" else lambda self, *arguments: value
    return type("Changed", (InTree,), {method: function})()


def bent(change: Any) -> Any:
    """An oracle whose answer was changed."""
    return lambda self, case, inputs: change(InTree.oracle(self, case, inputs))


def first_part(answer: Mapping[str, torch.Tensor], change: Any) -> dict[str, torch.Tensor]:
    name = next(iter(answer))
    return {**answer, name: change(answer[name])}


WRONG = {
    "oracle-none": (
        "oracle",
        None,
        r"oracle\(\) returned None \(is a `return` missing\?\); expected finite fp32 \[7, ",
    ),
    "oracle-empty": ("oracle", {}, "a mapping without parts"),
    "oracle-nan": ("oracle", bent(lambda a: first_part(a, lambda t: t / 0)), "NaN or infinity for its part 'routed'"),
    "oracle-narrow": ("oracle", bent(lambda a: first_part(a, lambda t: t[:, 1:])), r"shape \[7, \d+\] for its part"),
    "oracle-ints": ("oracle", bent(lambda a: first_part(a, lambda t: t.int())), "dtype int32 for its part"),
    "oracle-list": ("oracle", [1], r"oracle\(\) returned list \[1\]"),
    "inputs-none": ("inputs", None, r"inputs\(\) returned None"),
    "inputs-empty": ("inputs", (), r"inputs\(\) returned tuple \(\); expected a tuple of tensors"),
    "inputs-number": ("inputs", (3,), r"inputs\(\) returned int 3 at place 0"),
    "inputs-narrow": ("inputs", (torch.zeros(7, 3),), r"a first tensor of shape \[7, 3\]; expected \[7, "),
    "ops-text": ("ops", "padded_moe::routed_experts", r"ops\(\) returned str 'padded_moe"),
    "ops-none": ("ops", None, r"ops\(\) returned None"),
    "ops-plain-name": ("ops", ("routed_experts",), "the name 'routed_experts'"),
    "ops-unknown": ("ops", ("padded_moe::routed_expert",), "names no registered op.*routed_experts"),
    "build-none": ("build", None, r"build\(\) returned None"),
}


@pytest.mark.parametrize(("method", "value", "line"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("mode", ["eager", "compiled", "cudagraph"])
def test_what_cannot_be_used_is_an_error_of_the_subject(method: str, value: Any, line: str, mode: str) -> None:
    verdict = judge(returns(method, value), SHARED, MODES[mode], CPU)
    assert verdict.status == ERROR
    assert not verdict.findings
    assert not verdict.traceback
    assert "\n" not in verdict.reason
    with pytest.raises(SubjectError, match=line):
        raise SubjectError(verdict.reason)


def test_the_line_of_the_method_is_named() -> None:
    verdict = judge(returns("oracle", None), SHARED, MODES["eager"], CPU)
    assert f"{__file__.rpartition('/')[2]}:" in verdict.reason


@pytest.mark.parametrize("method", ["build", "inputs", "oracle", "ops"])
def test_a_signature_that_cannot_be_called(method: str) -> None:
    verdict = judge(returns(method, lambda self: None), SHARED, MODES["eager"], CPU) if method != "build" else None
    subject = type("Bent", (InTree,), {method: lambda self: None})()
    with pytest.raises(SubjectError, match=rf"^{method}\(\) does not take {method}\(case"):
        CheckedSubject(subject)
    assert verdict is None or verdict.status == ERROR


def _raise(error: BaseException) -> Any:
    def method(self: object, *arguments: Any) -> None:
        raise error

    return method


def test_an_exit_inside_a_method_is_told_with_its_line() -> None:
    verdict = judge(returns("oracle", _raise(SystemExit(0))), SHARED, MODES["eager"], CPU)
    assert verdict.status == ERROR
    assert verdict.reason.startswith("oracle() raised SystemExit: 0 (")
    assert "test_checked.py:" in verdict.reason


def test_a_skip_is_a_skip() -> None:
    assert judge(returns("inputs", _raise(Skip("not here"))), SHARED, MODES["eager"], CPU).status == SKIPPED


def test_a_correct_subject_passes() -> None:
    subject = CheckedSubject(InTree())
    inputs = subject.inputs(SHARED, 7, 0, CPU)
    assert set(subject.oracle(SHARED, inputs)) == {"routed", "shared"}  # type: ignore[arg-type]
    assert subject.ops(SHARED) == ("padded_moe::routed_experts",)
