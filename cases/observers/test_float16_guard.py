"""A guard of float16 leaves the routed part without a factor and divides the shared part: a wrong factor there is told by it."""

from dataclasses import replace

import pytest

from fixtures.planting import case
from harness.execution import stages
from harness.execution.difference import Difference
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.observers.factors import scaled
from harness.verdict.known_bugs import name_bugs

SCALED = case("nemotron-3-nano-30b-a3b", tp=2)  # scaling 2.5
GUARDED = replace(SCALED, dtype="float16")


def found(case: Case, **factors: float) -> Finding:
    """The finding of an output whose parts have these factors, with the bugs that it is similar to."""
    off = tuple(part for part, factor in factors.items() if factor != 1)
    kind, stage, cause = scaled(Difference([0], [0], 1.0, 9, factors, False, off), case)
    finding = Finding(observer="values", kind=kind, stage=stage, what="what", cause=cause, detail={"factors": factors})
    return name_bugs(finding, case)


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        ({"routed": 2.5, "shared": 1.0}, "was scaled all the same, where a guard of float16 divides the shared part"),
        ({"routed": 0.4, "shared": 1.0}, "the guard of float16 divided the routed part"),
        ({"routed": 1.0, "shared": 2.5}, "the guard of float16 did not divide this part"),
        ({"routed": 1.0, "shared": 0.4}, "divided by the routed scaling factor twice"),
        ({"routed": 2.5, "shared": 2.5}, "Both parts lack the division"),
        (
            {"routed": 0.4, "shared": 2.5},
            "The routed part is divided by the routed scaling factor, and the shared part",
        ),
    ],
)
def test_a_factor_that_the_guard_misplaces_is_told_by_the_guard(factors: dict[str, float], text: str) -> None:
    finding = found(GUARDED, **factors)
    assert (finding.kind, finding.stage) == ("scaled", stages.SCALING)
    assert text in finding.cause
    assert "the routed scaling factor was applied" not in finding.cause
    assert finding.similar_to == ()


def test_without_a_guard_the_factor_was_applied_twice() -> None:
    finding = found(SCALED, routed=2.5, shared=1.0)
    assert "applied twice" in finding.cause
    assert "float16" not in finding.cause
    assert [bug.partition(" ")[0] for bug in finding.similar_to] == ["vllm#45037"]


def test_the_guard_needs_a_shared_part_and_a_factor() -> None:
    assert GUARDED.divides_shared
    alone = replace(GUARDED, shared=None)
    assert not alone.divides_shared
    assert "applied twice" in found(alone, routed=2.5).cause
    assert not replace(GUARDED, scaling=1.0).divides_shared
    assert not SCALED.divides_shared
