"""The shrinker on a target: the smallest case that shows the same finding, and a hidden size for a finding of a proof."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from harness.findings.finding import Finding
from harness.matrix.modes import EVERY_MODE
from harness.matrix.shapes import NVFP4_BLOCK
from harness.matrix.shrunk import resized, sizes_of
from harness.repro.shrinking.fields import others, possible, simpler
from harness.repro.shrinking.shrink import MOST, Shrinker, Shrunk, Values
from harness.repro.target import Target

Progress = Callable[[str], None]
# How many hidden sizes are tried for a finding of a proof, which names sizes that a layer may not have.
_SIZES = 16


def shrunk_case(target: Target, finding: Finding, progress: Progress) -> Shrunk:
    """The smallest sizes that show the finding, and what other values of each field do."""

    def fails(values: Values) -> bool:
        return possible(values) and target.shows(finding, resized(target.case, values)) is not None

    def show(count: int, values: Values) -> None:
        sizes = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
        progress(f"shrinking: {count} tried, {sizes}")

    case = target.case
    if case.full:
        return Shrunk(sizes_of(case), 0)
    return Shrinker(sizes_of(case), simpler(case), fails, MOST, show).run(partial(others, case))


def with_a_size(target: Target, finding: Finding) -> tuple[Target, Finding]:
    """A proof's finding at the smallest hidden size that a layer can have and that shows it in eager."""
    eager = replace(target, mode=EVERY_MODE["eager"])
    for size in range(NVFP4_BLOCK, NVFP4_BLOCK * (_SIZES + 1), NVFP4_BLOCK):
        case = resized(target.case, sizes_of(target.case) | {"hidden": size})
        if same := eager.shows(finding, case):
            return replace(eager, case=case), same
    return target, finding
