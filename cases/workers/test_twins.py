"""Cases of two models whose layer has the same sizes are judged once, where the subject's layers are made from sizes alone."""

import os
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from harness.base.project import find
from harness.findings.finding import JUDGED_AS, OK, Verdict
from harness.matrix.case import Case
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN
from harness.matrix.twins import sizes, twins
from harness.output.report import summary, time_per_mode
from harness.subjects.subject import Subject
from harness.workers.plan import Plan, PlanRun

ROOT = Path(__file__).parents[2]
TWO = ("deepseek-v3", "kimi-k2")  # 256 and 384 experts, of which three remain
SELECTION = Selection(models=TWO, tokens=(7,), tp=(2,), modes=("eager",), models_file=str(BUILT_IN))
CPU = torch.device("cpu")


class Dies:
    """Ends its process."""

    def build(self, case: Case, device: torch.device) -> None:
        os._exit(3)

    inputs = oracle = ops = build


def plan(path: str, by_sizes: bool) -> Plan:
    return Plan(SELECTION, path, "in-tree", "cpu", 1, (str(ROOT),), by_sizes=by_sizes)


def verdicts(path: str, by_sizes: bool = True) -> dict[str, Verdict]:
    return {one.model: one for one in PlanRun(plan(path, by_sizes))}


def plain(verdict: Verdict) -> Verdict:
    known = {key: value for key, value in verdict.environment.items() if key != JUDGED_AS}
    return replace(verdict, seconds=0.0, environment=known)


def test_an_ok_stands_for_the_other_model_under_its_own_name() -> None:
    shared, alone = verdicts("kernels.layer.subject:InTree"), verdicts("kernels.layer.subject:InTree", by_sizes=False)
    assert {model: plain(one) for model, one in shared.items()} == {model: plain(one) for model, one in alone.items()}
    first, second = (shared[model] for model in TWO)
    assert JUDGED_AS not in first.environment
    assert second.environment[JUDGED_AS] == first.case
    assert second.changes["experts"] == "3 of 384"
    assert not any(JUDGED_AS in one.environment for one in alone.values())


def test_each_case_of_a_wrong_layer_is_judged() -> None:
    found = verdicts("fixtures.corpus:generic#no-shared")
    assert all(one.findings and JUDGED_AS not in one.environment for one in found.values())
    assert all(f"--models {model}" in one.reproduce for model, one in found.items())


def test_each_case_of_a_worker_that_dies_is_tried() -> None:
    found = verdicts("cases.workers.test_twins:Dies")
    assert [one.status for one in found.values()] == ["error", "error"]
    assert not any(JUDGED_AS in one.environment for one in found.values())


def test_a_subject_is_judged_whole_unless_it_says_that_its_layers_are_made_from_sizes() -> None:
    assert find(ROOT).by_sizes == ("in-tree", "triton")
    assert Plan(SELECTION, "my.layers:Mine", "mine", "cpu", 1).by_sizes is False


def groups() -> dict[object, list[Case]]:
    found: dict[object, list[Case]] = defaultdict(list)
    for case, mode in Selection(models_file=str(BUILT_IN)).tasks():
        if mode.name == "eager":
            found[sizes(case)].append(case)
    return {key: cases for key, cases in found.items() if len(cases) > 1}


def _tensors(subject: Subject, case: Case) -> list[torch.Tensor]:
    """The layer's weights, its inputs and the right answer."""
    layer, inputs = subject.build(case, CPU), subject.inputs(case, case.tokens, 0, CPU)
    answer = subject.oracle(case, inputs)
    parts = [answer] if isinstance(answer, torch.Tensor) else [answer[name] for name in sorted(answer)]
    assert isinstance(layer, torch.nn.Module)
    return [*layer.state_dict().values(), *inputs, *parts]


@pytest.mark.parametrize("cases", groups().values(), ids=lambda cases: cases[0].id)
def test_the_in_tree_layer_of_equal_sizes_is_the_same_layer(cases: list[Case]) -> None:
    subject = import_module("kernels.layer.subject").InTree()
    first, *others = ([one.clone() for one in _tensors(subject, case)] for case in cases)
    for other in others:
        assert len(first) == len(other)
        assert all(
            torch.equal(one.view(torch.uint8), two.view(torch.uint8)) for one, two in zip(first, other, strict=True)
        )


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 2704}, {"intermediate": 32}, {"shared": None}, {"experts": 4}, {"top_k": 1}, {"kernel": "narrow"}, {"tp": 1},
        {"tokens": 8}, {"scaling": 1.0}, {"full": True}, {"dtype": "float16"}, {"rank": 1}, {"collective": "all-reduce"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_layers_that_differ_in_one_size_are_not_the_same(change: dict[str, object]) -> None:
    tasks = SELECTION.tasks()
    (case, mode), other = tasks[0], tasks[1]
    assert twins([(case, mode), other], [0, 1]) == {1: 0}
    changed = replace(other[0], **change)  # type: ignore[arg-type]
    assert twins([(case, mode), (changed, mode)], [0, 1]) == {}


@pytest.mark.parametrize("change", [{"latent": 1024}, {"gated": False}, {"activation": "relu2"}, {"path": "vllm-eplb"}])
def test_layers_of_another_structure_are_not_the_same(change: dict[str, object]) -> None:
    (case, mode), other = SELECTION.tasks()[:2]
    changed = replace(other[0], shape=replace(other[0].shape, **change))  # type: ignore[arg-type]
    assert twins([(case, mode), (changed, mode)], [0, 1]) == {}


def test_another_mode_and_another_rule_are_not_the_same() -> None:
    (case, mode), other = SELECTION.tasks()[:2]
    assert twins([(case, mode), (other[0], replace(mode, name="fake"))], [0, 1]) == {}
    rule = replace(other[0].alignment, name="mine")
    assert twins([(case, mode), (replace(other[0], alignment=rule), mode)], [0, 1]) == {}


def test_the_summary_says_so_and_time_is_counted_once() -> None:
    case, mode = SELECTION.tasks()[0]
    one = Verdict.of("in-tree", case, mode.name, OK, seconds=1.0)
    two = replace(one, environment={"torch": "2", "device": "cpu", JUDGED_AS: case.id})
    line = "2 verdicts: 2 ok; 1 of them judged once with another model of the same sizes; 2.0 s, 0.5 verdicts/s"
    assert summary([one, two], 2.0) == line
    assert time_per_mode([one, two]) == "worker time: eager 1.0 s"
