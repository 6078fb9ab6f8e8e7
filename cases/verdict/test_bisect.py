"""Bisect: a finding of a compiled mode names the layer of the compiler that it comes from."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.corpus import FAULTS
from fixtures.planting import Planted
from harness.base.torch_settings import INDUCTOR
from harness.findings.finding import ERROR, FINDINGS, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.selection import Selection
from harness.matrix.shapes import ANY, load
from harness.output.report import verdict_text
from harness.subjects.subject import Subject
from harness.verdict import bisect
from harness.verdict.bisect import DYNAMO, EAGER, FAKE, name_blame
from harness.verdict.judge import judge
from harness.workers.plan import Plan, PlanRun
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU = torch.device("cpu")
BY_ID = {fault.id: fault for fault in FAULTS}
CASE = Case.of(ANY["any-shared"], load().rule("trtllm-nvfp4"), "wide", 1, 7)


@pytest.fixture(autouse=True)
def no_blame_cached() -> Iterator[None]:
    bisect._blame_by_kind.clear()
    yield
    bisect._blame_by_kind.clear()


def named(subject: Subject, case: Case, mode: str = "compiled") -> Verdict:
    verdict = judge(subject, case, MODES[mode], CPU, "planted")
    return name_blame(verdict, subject, case, MODES[mode], CPU)


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("fault", "layer"),
    [
        ("vllm#35949", EAGER),
        ("vllm#20152", EAGER),
        ("vllm#41645", FAKE),
        ("pytorch#177115", FAKE),
        ("generic#fake-dtype", FAKE),
        ("generic#graph-break", f"{DYNAMO}, which refuses the layer's code"),
        ("generic#global-argument", DYNAMO),
    ],
)
@pytest.mark.parametrize("mode", ["compiled", "compiled-dynamic"])
def test_the_blamed_layer_is_named(fault: str, layer: str, mode: str) -> None:
    verdict = named(BY_ID[fault].subject, BY_ID[fault].shown[0], mode)
    assert verdict.findings
    assert {finding.blame for finding in verdict.findings} == {layer}
    assert f"blame       {layer}" in verdict_text(verdict)
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
    assert all(finding.blame.startswith("Inductor") for finding in verdict.findings)


@torch.library.custom_op("planted::copy_into", mutates_args=("out",))
def copy_into(out: Tensor, x: Tensor) -> None:
    out.copy_(x)


@copy_into.register_fake
def _(out: Tensor, x: Tensor) -> None:
    return None


class WritesItsArgument(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        copy_into(out, x)
        return out


def test_an_op_that_writes_is_no_wrong_fake() -> None:
    with wrong_pass("post_grad_custom_post_pass"):
        found = named(Planted(layer=WritesItsArgument), CASE).findings
    assert {finding.blame.partition(",")[0] for finding in found} == {"Inductor"}


def test_a_bisection_that_fails_later_says_how_far_it_got(monkeypatch: pytest.MonkeyPatch) -> None:
    good, left = bisect._good, iter(range(6))

    def failing(verdict: Verdict, plain: set[tuple[str, str]], until: float) -> bool:
        if next(left, None) is None:
            raise IndexError("out of luck")
        return good(verdict, plain, until)

    monkeypatch.setattr(bisect, "_good", failing)
    with wrong_pass("post_grad_custom_post_pass"):
        assert named(InTree(), CASE).findings[0].blame == "Inductor, not narrowed down: IndexError: out of luck"


def test_a_wrong_decomposition_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.decomposition import select_decomp_table

    monkeypatch.setitem(INDUCTOR, "fx_graph_cache", False)  # it does not see a changed decomposition
    monkeypatch.setitem(select_decomp_table(), torch.ops.aten.silu.default, lambda x: x * 2)
    verdict = named(InTree(), CASE)
    assert [finding.observer for finding in verdict.findings][:1] == ["values"]
    assert all(finding.blame.startswith("aot_eager (decompositions") for finding in verdict.findings)


def test_what_only_functionalisation_refuses_is_no_fault_of_dynamos() -> None:
    fault = BY_ID["vllm#26497"]
    blamed = {finding.kind: finding.blame for finding in named(fault.subject, fault.shown[0]).findings}
    assert blamed.pop("raised") == "aot_eager"
    assert set(blamed.values()) == {EAGER}  # its undeclared alias and mutation


def test_faults_of_two_layers_are_told_apart() -> None:
    fault = BY_ID["vllm#20152"]
    with wrong_pass("post_grad_custom_post_pass"):
        found = named(fault.subject, fault.shown[0]).findings
    assert {finding.blame for finding in found if finding.observer == "alias"} == {EAGER}
    others = {finding.blame.partition(",")[0] for finding in found if finding.observer != "alias"}
    assert others == {"Inductor"}


def test_nothing_is_left_behind(capsys: pytest.CaptureFixture[str]) -> None:
    from torch._inductor.compiler_bisector import CompilerBisector

    fault = BY_ID["generic#graph-break"]
    named(fault.subject, fault.shown[0])
    assert CompilerBisector.bisection_enabled is False
    assert CompilerBisector.in_process_cache is None
    assert CompilerBisector.get_backend() is None
    CompilerBisector.in_process_cache = "another bisection's"
    gc.collect()
    assert CompilerBisector.in_process_cache == "another bisection's"
    CompilerBisector.in_process_cache = None
    assert capsys.readouterr().out == ""


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("calls", "message"), [(1, "not decided: it took more than"), (6, "Inductor, not narrowed down: it took")]
)
def test_a_bisection_that_takes_too_long_says_how_far_it_got(
    calls: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, left = bisect._good, iter(range(calls))

    def timed(verdict: Verdict, plain: set[tuple[str, str]], until: float) -> bool:
        return good(verdict, plain, until if next(left, None) is not None else 0.0)

    monkeypatch.setattr(bisect, "_good", timed)
    with wrong_pass("post_grad_custom_post_pass"):
        assert named(InTree(), CASE).findings[0].blame.startswith(message)


def test_a_bisection_in_which_nothing_can_be_judged_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = BY_ID["generic#graph-break"]
    verdict = judge(fault.subject, fault.shown[0], MODES["compiled"], CPU, "planted")
    failed = replace(verdict, status=ERROR, findings=(), reason="ValueError: out of luck")
    monkeypatch.setattr(bisect, "judge", lambda *_: failed)
    (finding,) = name_blame(verdict, fault.subject, fault.shown[0], MODES["compiled"], CPU).findings
    assert finding.blame == "not decided: RuntimeError: error, ValueError: out of luck"


DIES = """
import inspect
import os

import torch

from kernels.layer.subject import InTree


class DiesWhenBisected(InTree):
    def build(self, case, device):
        if any(frame.function == "name_blame" for frame in inspect.stack(0)):
            os._exit(7)
        layer = super().build(case, device)
        layer.scale = lambda x: torch._dynamo.graph_break() or x
        return layer


class Dies(InTree):
    def build(self, case, device):
        os._exit(7)
"""


@pytest.mark.usefixtures("forked_here")
@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("DiesWhenBisected", FINDINGS, "not decided: the bisection ended the worker process (exit code 7)"),
        ("Dies", ERROR, "the worker process died (exit code 7)"),
    ],
)
def test_a_bisection_that_kills_its_worker_costs_no_verdict(
    name: str, status: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "dying.py").write_text(DIES)
    chosen = Selection(
        models=("nemotron-3-nano-30b-a3b",), modes=("compiled-static",), kernels=("wide",), tp=(1,), tokens=(7,)
    )
    path = (str(tmp_path), str(Path(__file__).parents[2]))
    (verdict,) = PlanRun(Plan(chosen, f"dying:{name}", "dying", "cpu", 1, path, bisect=True))
    assert verdict.status == status
    if verdict.findings:
        assert {finding.blame for finding in verdict.findings} == {message}
    else:
        assert verdict.reason.startswith(message)


def test_right_verdicts_and_other_modes_are_left_as_they_are() -> None:
    fault = BY_ID["vllm#35949"]
    for verdict in (named(InTree(), CASE), named(fault.subject, fault.shown[0], "eager")):
        assert not any(finding.blame for finding in verdict.findings)
    assert bisect._blame_by_kind == {}


def test_a_bisection_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> str:
        raise RuntimeError("no bisector here")

    monkeypatch.setattr(bisect, "_bisected", broken)
    fault = BY_ID["generic#graph-break"]
    findings = named(fault.subject, fault.shown[0]).findings
    assert [finding.blame for finding in findings] == ["not decided: RuntimeError: no bisector here"]
