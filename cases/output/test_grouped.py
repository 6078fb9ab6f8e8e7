"""One finding speaks for all of its kind and stage, and says how many of them have another cause."""

from fixtures.runs import verdict
from harness.findings.finding import Finding, Verdict
from harness.output.report import grouped
from harness.runs.planned import Task


def _verdict(case: str, cause: str, mode: str = "eager") -> Verdict:
    finding = Finding(observer="collectives", kind="not-contiguous", stage="all-reduce", what="a view", cause=cause)
    return verdict(Task("in-tree", case, mode), found=(finding,))


def test_a_group_counts_those_with_another_cause() -> None:
    slices = [_verdict(f"m-tokens{count}", f"The padding was not cut off: {count} = 2.") for count in (3, 7)]
    (text,) = grouped(slices)
    assert "in 1 more verdict (eager); -v shows each" in text
    by_fake = [_verdict(f"n-tokens{count}", "The fake gives these strides: look there.", "fake") for count in (3, 7)]
    (text,) = grouped([*slices, *by_fake])
    assert "in 3 more verdicts (eager, fake), 2 of them with another cause; -v shows each" in text
    assert len(grouped([*slices, *by_fake], verbose=1)) == 4
