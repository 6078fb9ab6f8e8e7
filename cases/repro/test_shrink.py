"""The shrinker on predicates of its own: its result fails, no field of it can be one step simpler, and it stays in its bound."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import corpus
from fixtures.imports import ROOT
from harness.execution import stages
from harness.findings.finding import FINDINGS, Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE
from harness.matrix.shapes import load
from harness.matrix.shrunk import resized, sizes_of
from harness.repro.shrinking.fields import others, possible, simpler
from harness.repro.shrinking.shrink import Shrinker, Shrunk, Values
from harness.repro.shrinking.target import is_alike, shrunk_case
from harness.repro.shrinking.words import said
from harness.repro.target import Target, same_finding

FIELDS = {"tokens": tuple(range(1, 8)), "hidden": tuple(range(16, 161, 16)), "experts": tuple(range(1, 6))}
CHOICES = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FIELDS.items()})


class Predicate:
    """A condition on each field, or none: at least, not a multiple of, exactly one of. Counts its calls."""

    def __init__(self, conditions: dict[str, tuple[str, int]], start: Values) -> None:
        self.conditions, self.start, self.calls = conditions, start, 0

    def __call__(self, values: Values) -> bool:
        self.calls += 1
        return self.holds(values)

    def holds(self, values: Values) -> bool:
        return all(self._one(values[name], *condition) for name, condition in self.conditions.items())

    def _one(self, value: int, kind: str, number: int) -> bool:
        return {"least": value >= number, "not multiple": bool(value % number), "is": value == number}[kind]


def conditions(start: Values) -> st.SearchStrategy[dict[str, tuple[str, int]]]:
    def of(name: str) -> st.SearchStrategy[tuple[str, int]]:
        value = start[name]
        divisors = [number for number in (2, 3, 32, 48, 64) if value % number]
        kinds = [st.tuples(st.just("least"), st.integers(1, value)), st.just(("is", value))]
        return st.one_of(*kinds, *([st.tuples(st.just("not multiple"), st.sampled_from(divisors))] if divisors else []))

    return st.fixed_dictionaries({}, optional={name: of(name) for name in FIELDS})


def shrunk(predicate: Predicate, **settings: Any) -> Shrunk:
    return Shrinker(predicate.start, FIELDS, predicate, **settings).run()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_result_fails_and_is_minimal_by_one_step(data: st.DataObject) -> None:
    start = data.draw(CHOICES)
    predicate = Predicate(data.draw(conditions(start)), start)
    result = shrunk(predicate)
    assert predicate.holds(result.values)
    assert not result.stopped
    for name, values in FIELDS.items():
        for value in values[: values.index(result.values[name])]:
            assert not predicate.holds(result.values | {name: value})


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(0, 12))
def test_it_stays_in_its_bound_and_asks_nothing_twice(data: st.DataObject, most: int) -> None:
    start = data.draw(CHOICES)
    predicate = Predicate(data.draw(conditions(start)), start)
    result = shrunk(predicate, most=most)
    assert result.evaluations == predicate.calls <= most
    assert predicate.holds(result.values)


def test_it_needs_few_evaluations() -> None:
    predicate = Predicate({"hidden": ("not multiple", 64)}, {"tokens": 7, "hidden": 160, "experts": 5})
    assert shrunk(predicate).values == {"tokens": 1, "hidden": 16, "experts": 1}
    assert predicate.calls <= 5


def test_fields_that_hang_together_are_shrunk_to_a_fixpoint() -> None:
    start = {"tokens": 7, "hidden": 160, "experts": 5}
    result = Shrinker(start, FIELDS, lambda values: values["tokens"] >= values["experts"]).run()
    assert result.values == {"tokens": 1, "hidden": 16, "experts": 1}


def parity(values: Values) -> bool:
    """Shown by three experts, and by two only where two tokens choose them."""
    return bool(values["experts"] == 3 or values["experts"] == values["tokens"] == 2)


def test_a_field_reaches_its_goal_at_the_cost_of_another() -> None:
    start = {"tokens": 7, "hidden": 160, "experts": 3}
    plain = Shrinker(start, FIELDS, parity).run()
    assert plain.values == {"tokens": 1, "hidden": 16, "experts": 3}
    result = Shrinker(start, FIELDS, parity, goals={"experts": 2, "tokens": 2}).run()
    assert result.values == {"tokens": 2, "hidden": 16, "experts": 2}


def test_no_field_is_raised_beyond_its_own_goal_or_the_start() -> None:
    seen: list[Values] = []
    start = {"tokens": 3, "hidden": 48, "experts": 3}

    def fails(values: Values) -> bool:
        seen.append(values)
        return bool(values["experts"] == 3)

    assert Shrinker(start, FIELDS, fails, goals={"experts": 2, "tokens": 2}).run().values["experts"] == 3
    raised = [values for values in seen if values["experts"] < 3]
    assert {values["hidden"] for values in raised} == {16, 32, 48}
    assert {values["tokens"] for values in raised} == {1, 2}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_with_goals_the_result_fails_too_and_the_bound_holds(data: st.DataObject) -> None:
    start = data.draw(CHOICES)
    predicate = Predicate(data.draw(conditions(start)), start)
    result = shrunk(predicate, goals={"experts": 2, "tokens": 2}, most=60)
    assert predicate.holds(result.values)
    assert predicate.calls <= 60


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["generic#gate-up-swapped", "generic#ids-by-bytes", "generic#loads-once"])
def test_a_fault_is_shown_by_two_experts_and_two_tokens(name: str) -> None:
    fault = next(fault for fault in corpus.FAULTS if fault.id == name)
    target = Target(fault.subject, name, "", fault.shown[0], EVERY_MODE[fault.modes[0]], torch.device("cpu"), ROOT)
    finding = target.judged().findings[0]
    target = replace(target, mode=replace(target.mode, vary=(finding.vary,) if finding.vary else ()))
    values = shrunk_case(target, finding, lambda text: None).values
    assert values["experts"] <= 2
    assert values["tokens"] <= 2
    assert target.shows(finding, resized(target.case, values)) is not None


def test_the_stage_that_numbers_fit_may_change_in_a_varied_call_alone() -> None:
    def at(stage: str, vary: str = "", kind: str = "other-weights") -> Finding:
        return Finding(observer="varied", kind=kind, stage=stage, what="", cause="", vary=vary)

    def verdict(*found: Finding) -> Verdict:
        return Verdict.of("", a_case(), "varied-layers", FINDINGS, findings=found)

    varied, plain = at(stages.EXPERTS, "weights=reloaded"), at(stages.EXPERTS)
    scaling = at(stages.SCALING, "weights=reloaded")
    assert same_finding(verdict(scaling), varied) is scaling
    assert same_finding(verdict(scaling, varied), varied) is varied
    assert same_finding(verdict(at(stages.SHARED, "weights=reloaded")), varied) is None
    assert same_finding(verdict(at(stages.EXPERTS, "calls=64")), varied) is None
    assert same_finding(verdict(at(stages.SCALING)), plain) is None


def test_what_it_tries_is_told() -> None:
    seen: list[int] = []
    start = {"tokens": 7, "hidden": 160, "experts": 5}
    Shrinker(
        start, FIELDS, lambda values: values["tokens"] > 3, progress=lambda count, values: seen.append(count)
    ).run()
    assert seen == list(range(1, len(seen) + 1))
    assert seen


def a_case() -> Case:
    catalogue = load()
    return Case.of(catalogue.shape("nemotron-3-nano-30b-a3b"), catalogue.rule("trtllm-nvfp4"), "wide", 2, 7)


def phrases(fails: Any) -> list[str]:
    case = a_case()
    found = Shrinker(sizes_of(case), simpler(case), lambda v: possible(v) and fails(v)).run(partial(others, case))
    assert fails(sizes_of(resized(case, found.values)))
    return said(case, found)


def test_free_and_needed_fields_are_told_apart() -> None:
    assert phrases(lambda v: v["hidden"] % 256 and v["shared"]) == [
        "tokens=1, or any other",
        "experts=1, or any other",
        "hidden=16: it must not be a multiple of 256",
        "needs a shared expert",
        "free too: intermediate, tp, scaling",
    ]


@pytest.mark.parametrize(
    ("fails", "phrase"),
    [
        (lambda v: v["tp"] == 2, "needs tensor parallelism (tp=2)"),
        (lambda v: v["tokens"] == 7, "tokens must be 7"),
        (lambda v: v["tokens"] > 1, "tokens=2; not 1"),
        (lambda v: v["hidden"] > 0, "hidden=16, or any other"),
        (lambda v: v["hidden"] % 256 == 0, "hidden=256: it must be a multiple of 256"),
        (lambda v: v["hidden"] not in (16, 512), "hidden=32; not 512"),
        (lambda v: True, "with or without a shared expert"),
        (lambda v: not v["shared"], "without a shared expert"),
        (lambda v: v["scaling"] != 1, "scaling=2.5; not 1.0"),
        (lambda v: v["top_k"] == 2, "top_k=2; not 1"),
        (lambda v: v["experts"] >= 2, "experts=2; not 1"),
    ],
)
def test_what_a_field_must_be(fails: Any, phrase: str) -> None:
    assert phrase in phrases(fails)


def test_a_case_of_other_values_has_them() -> None:
    case = resized(a_case(), sizes_of(a_case()) | {"hidden": 32, "experts": 1, "top_k": 1, "shared": None})
    assert (case.hidden, case.padded, case.experts, case.shared) == (32, 256, 1, None)
    assert case.model == "nemotron-3-nano-30b-a3b-shrunk-experts1-topk1-intermediate64-scaling2.5"


NEEDS: dict[str, Callable[[Values], bool]] = {
    "needs a shared expert": lambda v: bool(v["shared"]),
    "needs tensor parallelism (tp=2)": lambda v: v["tp"] == 2,
    "hidden=16: it must not be a multiple of 256": lambda v: bool(v["hidden"] % 256),
    "hidden=256: it must be a multiple of 256": lambda v: not v["hidden"] % 256,
    "tokens=2; not 1": lambda v: v["tokens"] > 1,
    "experts must be 3": lambda v: v["experts"] == 3,
    "scaling=2.5; not 1.0": lambda v: v["scaling"] == 2.5,
}


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(sorted(NEEDS)), max_size=5))
def test_what_it_says_is_what_the_finding_needs(needs: set[str]) -> None:
    if len([need for need in needs if need.startswith("hidden")]) == 2:
        needs.discard("hidden=16: it must not be a multiple of 256")  # nothing would be left
    said_of = set(phrases(lambda v: all(NEEDS[need](v) for need in needs)))
    assert said_of & set(NEEDS) == needs
    free = next((phrase for phrase in said_of if phrase.startswith("free too")), "")
    assert ("tp" in free) == ("needs tensor parallelism (tp=2)" not in needs)
    assert ("scaling" in free) == ("scaling=2.5; not 1.0" not in needs)
    assert ("with or without a shared expert" in said_of) == ("needs a shared expert" not in needs)
    assert ("tokens=1, or any other" in said_of) == ("tokens=2; not 1" not in needs)


def test_nothing_is_said_of_what_was_not_tried() -> None:
    case = a_case()
    found = Shrinker(sizes_of(case), simpler(case), lambda v: bool(v["shared"]), most=9).run(partial(others, case))
    assert found.stopped
    assert [
        phrase for phrase in said(case, found) if "any other" in phrase or "need" in phrase or "free" in phrase
    ] == []


def test_what_numbers_decide_does_not_matter_to_what_is_free() -> None:
    def finding(kind: str, stage: str, vary: str = "", observer: str = "values") -> Finding:
        return Finding(observer=observer, kind=kind, stage=stage, what="", cause="", vary=vary)

    scaled, columns, shape = (finding(kind, "layer") for kind in ("scaled", "wrong-columns", "wrong-shape"))
    assert is_alike(scaled, columns)
    assert not is_alike(shape, columns)
    assert not is_alike(columns, shape)
    loaded = finding("other-weights", "routed experts", "weights=reloaded", "varied")
    assert is_alike(finding("other-weights", "routed scaling", "weights=reloaded", "varied"), loaded)
    assert not is_alike(finding("other-weights", "routed scaling", "other=before", "varied"), loaded)


def test_values_that_fail_alike_are_free_and_are_not_shrunk_to() -> None:
    start = {"tokens": 7, "hidden": 160, "experts": 3}
    found = Shrinker(start, FIELDS, lambda v: v["experts"] == 3, alike=lambda v: v["experts"] < 3).run(
        lambda small: {"experts": (1, 2, 5)}
    )
    assert found.values["experts"] == 3
    assert found.others == {"experts": {1: True, 2: True, 5: False}}
