"""Gate and up as one: where a width is both, each half may have been rounded up, by other rules than the whole."""

import re
from dataclasses import replace

from harness.diagnosis.diagnosis import Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import catalogue
from harness.diagnosis.statements.shown import is_joined
from harness.diagnosis.widths import Pair

# A variable of that name most often holds what the first product gave, of which either half may be meant.
_OUTPUT = re.compile(r"(?<![\w.])gate_?up(?!\w)")
_OUTER = ("hidden size", "latent size")


def with_halves(reading: Reading, facts: Facts, told: tuple[Width, ...]) -> Reading:
    """The reading with what rounds each half of its narrow width up, where that is gate and up as one by its owners or a name."""
    pair = _pair(reading, facts, told)
    if (
        pair is None
        or _has_one_part(facts, pair)
        or not _is_joined(facts, next(width for width in told if width.size == pair.narrow))
    ):
        return reading
    half = facts.pair(pair.narrow // 2, pair.wide // 2)
    if not half.alignments or f"each half, {half.rounded()}" in reading.rule:
        return reading
    says = f"Where it is gate and up as one, each half is padded: {half.rounded()}."
    cause = reading.cause if half.rounded() in reading.cause else f"{reading.cause} {says}"
    return replace(reading, rule=f"{reading.rule}; or each half, {half.rounded()}", cause=cause)


def _pair(reading: Reading, facts: Facts, told: tuple[Width, ...]) -> Pair | None:
    """The two even widths of a reading that tells one as the other rounded up; None for any other."""
    sizes = sorted({width.size for width in told if not width.rows})
    if len(sizes) != 2 or any(size % 2 or size < 2 for size in sizes) or sum(width.padded for width in told) != 1:
        return None
    pair = facts.pair(*sizes)
    return pair if reading.rule == pair.rounded() else None


def _has_one_part(facts: Facts, pair: Pair) -> bool:
    """Whether the models that the log names have the narrow width, and none of them has a gate beside its up."""
    shapes = [catalogue().shapes[owner.model] for owner in pair.owners if owner.model in facts.named]
    return bool(shapes) and not any(shape.gated for shape in shapes)


def _is_joined(facts: Facts, width: Width) -> bool:
    """Whether the likeliest owner of a width has it as gate and up; or a name says so, and no model has it as a hidden size."""
    if width.models and width.models[0].startswith("2 x"):
        return True
    named = is_joined(f"{facts.op} {facts.function} {_OUTPUT.sub(' ', facts.code)}")
    return named and not any(model.startswith(_OUTER) for model in width.models)
