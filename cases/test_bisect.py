"""Bisect: a finding of a compiled mode names the layer of the compiler that it comes from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from fixtures.corpus import FAULTS
from harness import bisect
from harness.bisect import EAGER, FAKE, name_guilty
from harness.case import Case
from harness.finding import Verdict
from harness.judge import judge
from harness.modes import MODES
from harness.report import verdict_text
from harness.shapes import ANY, load
from harness.subject import Subject
from kernels.subject import InTree

CPU = torch.device("cpu")
BY_ID = {fault.id: fault for fault in FAULTS}
CASE = Case.of(ANY["any-shared"], load().rule("trtllm-nvfp4"), "wide", 1, 7)


@pytest.fixture(autouse=True)
def nothing_told() -> Iterator[None]:
    bisect._told.clear()
    yield
    bisect._told.clear()


def named(subject: Subject, case: Case, mode: str = "compiled") -> Verdict:
    verdict = judge(subject, case, MODES[mode], CPU, "planted")
    return name_guilty(verdict, subject, case, MODES[mode], CPU)


@pytest.mark.parametrize(
    ("fault", "layer"),
    [("vllm#35949", EAGER), ("vllm#41645", FAKE), ("generic#graph-break", "dynamo")],
)
def test_the_guilty_layer_is_named(fault: str, layer: str) -> None:
    verdict = named(BY_ID[fault].subject, BY_ID[fault].shown[0])
    assert verdict.findings
    assert {finding.guilty for finding in verdict.findings} == {layer}
    assert f"guilty    {layer}" in verdict_text(verdict)
    assert Verdict.from_json(verdict.to_json()) == verdict


@contextmanager
def wrong_pass(place: str) -> Iterator[None]:
    """A pass of Inductor's that takes a product for a sum: planted where torch lets anybody add one."""

    def spoil(graph: Any) -> None:
        for node in graph.nodes:
            if node.target is torch.ops.aten.mul.Tensor:
                node.target = torch.ops.aten.add.Tensor

    config: Any = torch._inductor.config
    with config.patch(**{place: spoil, "fx_graph_cache": False}):
        yield


def test_a_pass_of_inductors_is_found() -> None:
    with wrong_pass("post_grad_custom_post_pass"):
        verdict = named(InTree(), CASE)
    assert [finding.observer for finding in verdict.findings][:1] == ["values"]
    assert all(finding.guilty.startswith("Inductor") for finding in verdict.findings)


def test_right_verdicts_and_other_modes_are_left_as_they_are() -> None:
    fault = BY_ID["vllm#35949"]
    for verdict in (named(InTree(), CASE), named(fault.subject, fault.shown[0], "eager")):
        assert not any(finding.guilty for finding in verdict.findings)
    assert bisect._told == {}


def test_a_bisection_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> str:
        raise RuntimeError("no bisector here")

    monkeypatch.setattr(bisect, "_bisected", broken)
    fault = BY_ID["generic#graph-break"]
    findings = named(fault.subject, fault.shown[0]).findings
    assert [finding.guilty for finding in findings] == ["not decided: RuntimeError: no bisector here"]
