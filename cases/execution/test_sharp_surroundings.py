"""The varied modes of surroundings, layers, caches and ranks: what they restore, and what they leave out."""

import os
import random
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fixtures.faults.siblings import CACHES, LAYERS, SIZES, EmptiesIndex, EverySixtieth, ScalesOfShape
from fixtures.faults.surroundings import SURROUNDINGS, BuildSetsVariable, FactorOfThread, KeepsOutputs
from fixtures.planting import SHARED, SMALL, Planted
from harness.execution.modes.varied.beside.reductions import Reductions
from harness.execution.modes.varied.process import ProcessState, Snapshot
from harness.execution.rig import Rig
from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE
from harness.matrix.selection import Selection
from harness.ops.collectives import all_reduce
from harness.ops.registry import register_op
from harness.verdict.judge import judge
from kernels.layer.subject import InTree

CPU = torch.device("cpu")


def verdict(subject: InTree, case: Case, mode: str) -> Verdict:
    return judge(subject, case, EVERY_MODE[mode], CPU)


def test_the_state_of_the_process_is_named_and_put_back() -> None:
    before = Snapshot()
    benchmark = torch.backends.cudnn.benchmark
    with ProcessState(before) as state:
        os.environ["SHARP_TEST"] = "1"
        torch.backends.cudnn.benchmark = not benchmark
        torch.set_flush_denormal(True)
        random.random()
    expected = {
        "the environment variable SHARP_TEST",
        "torch.backends.cudnn.benchmark",
        "flush-denormal mode",
        "Python's random generator",
    }
    assert expected <= set(state.changed)
    assert "SHARP_TEST" not in os.environ
    assert torch.backends.cudnn.benchmark == benchmark
    assert torch.full((), 1e-310, dtype=torch.float64) * 0.5 != 0


def test_what_an_earlier_layer_left_does_not_hide_that_the_next_leaves_it_too() -> None:
    before = Snapshot()
    for _ in range(2):
        with ProcessState(before) as state:
            os.environ["SHARP_TEST"] = "1"
            torch.manual_seed(0)
        assert {"the environment variable SHARP_TEST", "random generator"} <= set(state.changed)


def test_a_reduction_gets_the_true_sum_where_it_is_known() -> None:
    x, known = torch.ones(2, 3), torch.full((2, 3), 5.0)
    reductions = Reductions([known], ())
    with reductions:
        first = all_reduce.overload(x, 4)
        second = all_reduce.overload(x, 4)
    assert torch.equal(first, known)
    assert torch.equal(second, x * 4)
    assert len(reductions.given) == 2


def _own_op(name: str, real: Any, schema: str = "(Tensor x, Tensor y, int n) -> Tensor") -> Any:
    fake = None if schema.endswith("()") else lambda x, *_: torch.empty_like(x)
    return register_op(f"planted::test_{name}", schema, fake=fake or (lambda *_: None))(real)


def test_an_own_op_may_add_before_it_sums() -> None:
    op = _own_op("adds_and_sums", lambda x, y, n: (x + y) * n)
    x, y, known = torch.ones(2, 3), torch.full((2, 3), 2.0), torch.full((2, 3), 5.0)
    with Reductions([known], (op.name,), 4) as reductions:
        out = op.overload(x, y, 4)
    assert torch.equal(out, known)
    assert torch.equal(reductions.given[0], torch.full((2, 3), 3.0))
    assert not reductions.more


def test_an_own_op_that_does_more_than_add_and_sum_is_named() -> None:
    op = _own_op("norm_of_sum", lambda x, y, n: torch.nn.functional.normalize(x * n + y))
    with Reductions([], (op.name,), 4) as reductions:
        out = op.overload(torch.randn(2, 3), torch.ones(2, 3), 4)
    assert torch.equal(out, reductions.given[0])
    assert reductions.more == {0: op.name}


def test_a_reduction_in_place_gives_what_was_there_before() -> None:
    op = _own_op("sums_in_place", lambda x, n: (x.mul_(n), None)[1], "(Tensor(a!) x, int n) -> ()")
    x, known = torch.ones(2, 3), torch.full((2, 3), 5.0)
    with Reductions([known], (op.name,), 4) as reductions:
        op.overload(x, 4)
    assert torch.equal(reductions.given[0], torch.ones(2, 3))
    assert torch.equal(x, known)


def test_shards_of_ranks_differ_and_their_oracle_is_the_sum() -> None:
    from dataclasses import replace

    case = replace(SHARED, tp=2, rank=0)
    subject = InTree()
    layers = [subject.build(replace(case, rank=rank), CPU) for rank in range(2)]
    assert not torch.equal(layers[0].w2, layers[1].w2)
    assert torch.equal(layers[0].w2, subject.build(SHARED, CPU).w2), "rank 0 has the weights of copies"
    inputs = subject.inputs(case, 7, 0, CPU)
    alone = subject.oracle(SHARED, inputs)
    both = subject.oracle(case, inputs)
    other = {name: both[name] - alone[name] for name in both}
    assert all(bool(part.abs().amax() > 0.1) for part in other.values())


@pytest.mark.parametrize(
    ("layer", "case", "mode", "vary"),
    [
        (FactorOfThread, SHARED, SURROUNDINGS, "thread=other"),
        (BuildSetsVariable, SMALL, SURROUNDINGS, "process=build"),
        (KeepsOutputs, SMALL, SURROUNDINGS, "memory=40-calls"),
        (ScalesOfShape, SMALL, LAYERS, "other=before"),
        (EverySixtieth, SMALL, CACHES, "calls=64"),
    ],
)
def test_a_finding_says_what_was_varied_and_how_to_see_it(layer: type, case: Case, mode: str, vary: str) -> None:
    one = verdict(Planted(layer=layer), case, mode)
    assert [finding.vary for finding in one.findings] == [vary]
    assert f"--vary {vary}" in one.reproduce


def test_a_load_that_spoils_every_layer_is_named_and_not_the_layer_beside_it() -> None:
    class Spoils(EmptiesIndex):
        orders: ClassVar[dict[int, Tensor]] = {}  # of its own: from then on every layer is wrong

    one = verdict(Planted(layer=Spoils), SMALL, LAYERS)
    assert [finding.vary for finding in one.findings] == ["weights=reloaded"]
    assert "from then on every layer is wrong" in one.findings[0].what


def test_a_leak_names_the_line_that_made_the_memory() -> None:
    (finding,) = verdict(Planted(layer=KeepsOutputs), SMALL, SURROUNDINGS).findings
    assert finding.kind == "leak"
    assert finding.line is not None
    assert "of 40 of them" in finding.what


def test_a_layer_that_miscounts_its_calls_is_reported_by_the_calls_alone() -> None:
    for mode in (SURROUNDINGS, LAYERS, SIZES):
        assert verdict(Planted(layer=EverySixtieth), SMALL, mode).ok


def test_a_layer_without_optional_shards_is_judged_with_copies() -> None:
    class Copies(Planted):
        def build(self, case: Case, device: torch.device) -> object:  # type: ignore[override]
            from dataclasses import replace

            return super().build(replace(case, rank=None), device)

        def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
            from dataclasses import replace

            return super().oracle(replace(case, rank=None), inputs)

    assert verdict(Copies(), SHARED, SIZES).ok


def test_these_modes_run_once_for_each_combination_of_parts() -> None:
    tasks = Selection(modes=(SURROUNDINGS,)).tasks()
    parts = [case.parts for case, _ in tasks]
    assert len(parts) == len(set(parts)) > 2
    assert {case.parts for case, _ in Selection(modes=("varied-tokens",)).tasks()} == set(parts)


def test_a_rig_of_few_tokens_gets_no_more() -> None:
    class Limited(Planted):
        declares = ("tokens<=7",)

    rig = Rig(Limited(), SMALL, CPU)
    assert rig.most_tokens == 7
    assert verdict(Limited(), SMALL, CACHES).ok
