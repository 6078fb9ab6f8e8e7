"""The shrinker on a target: the smallest case that shows the same finding, and a hidden size for a finding of a proof."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from harness.findings.finding import Finding, Verdict
from harness.findings.kinds import OF_VALUES
from harness.matrix.modes import EVERY_MODE
from harness.matrix.shapes import NVFP4_BLOCK
from harness.matrix.shrunk import resized, sizes_of
from harness.repro.shrinking.fields import GOALS, others, possible, simpler
from harness.repro.shrinking.shrink import MOST, Shrinker, Shrunk, Values
from harness.repro.target import Target, same_finding

Progress = Callable[[str], None]
# How many hidden sizes are tried for a finding of a proof, which names sizes that a layer may not have.
_SIZES = 16


def shrunk_case(target: Target, finding: Finding, progress: Progress) -> Shrunk:
    """The smallest sizes that show the finding, and what other values of each field do."""
    verdicts: dict[str, Verdict] = {}

    def judged(values: Values) -> Verdict:
        small = resized(target.case, values)
        if small.id not in verdicts:
            verdicts[small.id] = target.judged(small)
        return verdicts[small.id]

    def fails(values: Values) -> bool:
        return possible(values) and same_finding(judged(values), finding) is not None

    def alike(values: Values) -> bool:
        return possible(values) and any(is_alike(one, finding) for one in judged(values).findings)

    def show(count: int, values: Values) -> None:
        sizes = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
        progress(f"shrinking: {count} tried, {sizes}")

    case = target.case
    if case.full:
        return Shrunk(sizes_of(case), 0)
    return Shrinker(sizes_of(case), simpler(case), fails, MOST, show, alike, GOALS).run(partial(others, case))


def is_alike(one: Finding, finding: Finding) -> bool:
    """Whether two findings differ at most in what the numbers decide: which values are wrong, and the stage that fits them."""
    if finding.vary:
        return (one.observer, one.kind, one.vary) == (finding.observer, finding.kind, finding.vary)
    return {one.kind, finding.kind} <= OF_VALUES


def with_a_size(target: Target, finding: Finding, counterexample: Sequence[int]) -> tuple[Target, Finding]:
    """A proof's finding at the smallest hidden size that a layer can have and that shows it in eager.

    ``counterexample`` are sizes that the proof ran, hidden and latent, for a finding that shows at none of the usual ones.
    """
    eager, rule = replace(target, mode=EVERY_MODE["eager"]), target.case.alignment.hidden
    sizes = sorted({*range(NVFP4_BLOCK, NVFP4_BLOCK * (_SIZES + 1), NVFP4_BLOCK), rule, 2 * rule})
    names = ("hidden", "latent")[: len(counterexample)]
    for values in [*({"hidden": size} for size in sizes), dict(zip(names, counterexample, strict=True))]:
        case = resized(target.case, values)
        if same := eager.shows(finding, case):
            return replace(eager, case=case), same
    return target, finding
