"""A reshape of a weight, [experts, out, in]: each of its widths may be the padded one, and no tokens are in it."""

import re
from dataclasses import dataclass, replace
from math import prod

from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.owners import owners, published
from harness.diagnosis.readers.pairs import as_data, modes, speaks, widths
from harness.diagnosis.statements.shown import activation_reshaped, is_joined, loads_weight, reshapes_weight
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks, context_of
from harness.diagnosis.widths import Pair

_SCALES = re.compile(r"scale|\bsf\b|_sf\b", re.I)
_SHAPE = re.compile(r"[\[(](\d{1,7}(?:, ?\d{1,7}){1,3})[\])]")
_CALLERS, _RANKS, _LEAST = 3, (1, 2, 4, 8, 16, 32), 256
STAGE = "a reshape of a weight"
_MAYBE = f"{STAGE} [experts, out, in], or of activations"
_LOOK = "the shape of the stored weight beside the sizes of the reshape: which of them was padded, whole or as a rank's share"


@dataclass(frozen=True, slots=True)
class _Way:
    """One dimension in which the tensor may have another size than is asked for, the two padded and true."""

    place: int
    asked: int
    there: int
    pair: Pair

    def __str__(self) -> str:
        return f"{self.there} in place of {self.asked} in dimension {self.place}, {self.pair.rounded()}"


def weight_stage(facts: Facts, want: tuple[str, ...]) -> str:
    """The stage of a reshape of a weight, by names or by a shape that weights of experts have; empty for any other.

    The names of scales say nothing here: their shapes count blocks.
    """
    callers = facts.users[-_CALLERS:-1]
    if _SCALES.search(facts.code) or facts.in_attention or activation_reshaped(facts.code):
        return ""
    loads = any(loads_weight(frame.function, surely=True) for frame in callers)
    if loads or reshapes_weight(facts.function, facts.code):
        return STAGE
    return _MAYBE if _is_of_experts(want) else ""


def _is_of_experts(want: tuple[str, ...]) -> bool:
    """Whether three sizes are a number of experts, or a rank's of them, and two widths of one model."""
    if len(want) != 3 or not all(size.isdigit() for size in want):
        return False
    experts, rows, columns = map(int, want)
    counts = {shape.experts // ranks for shape in published() for ranks in _RANKS}
    models = {owner.model for owner in owners(rows)} & {owner.model for owner in owners(columns)}
    return experts > 1 and experts in counts and min(rows, columns) >= _LEAST and bool(models)


def read_reshaped(
    facts: Facts, around: Surroundings, want: tuple[str, ...], stage: str, against: tuple[str, ...]
) -> Reading | None:
    """Every size of a weight that padding may have changed, if it alone is wrong; None where none is so."""
    ways = _decided(facts, want, _ways(facts, want))
    if not ways:
        return None
    ways.sort(key=lambda way: not _is_share(facts, around, way))
    strong = any(way.pair.padded or way.pair.strong for way in ways)
    return Reading(
        verdict=FAMILY if strong and (speaks(facts) or (stage == STAGE and len(want) == 3)) else UNDECIDED,
        stage=stage,
        operands=tuple(
            f"{'perhaps ' if len(ways) > 1 else ''}dimension {way.place}: {way.there} there, {way.asked} asked for"
            for way in ways
        ),
        cause=_cause(facts, want, ways, "weight" if stage == STAGE else "tensor"),
        against=against,
        look=_LOOK,
        widths=tuple(dict.fromkeys(width for way in ways for width in widths(way.pair))),
        rule=_rule(facts, ways),
        alignments=as_data(ways[0].pair),
        tags=frozenset(("padded", "weight")),
        tries=_tries(facts, around, want, ways[0]),
    )


def as_weight(reading: Reading, stage: str) -> Reading:
    """A reading of a reshape, told as that of a weight."""
    return replace(reading, stage=stage, look=_LOOK, tags=reading.tags | {"weight"})


def _ways(facts: Facts, want: tuple[str, ...]) -> list[_Way]:
    """Of three or more sizes the first counts experts."""
    elements = facts.match.groups["elements"]
    if not elements.isdigit() or not all(size.isdigit() and int(size) for size in want):
        return []
    whole, found = prod(map(int, want)), []
    for place, asked in enumerate(map(int, want)):
        there, rest = divmod(int(elements) * asked, whole)
        if (place or len(want) < 3) and not rest and there not in (0, asked):
            found.append(_Way(place, asked, there, facts.pair(asked, there)))
    return [way for way in found if way.pair.possible and way.pair.rules and way.pair.extra <= 1 / 6]


def _decided(facts: Facts, want: tuple[str, ...], ways: list[_Way]) -> list[_Way]:
    """The one way that a shape in the text is of, where it shows the tensor's; else all."""
    shown = {tuple(map(int, found[1].split(","))) for found in _SHAPE.finditer(facts.whole)}
    asked = tuple(map(int, want)) if ways else ()
    known = [way for way in ways if (*asked[: way.place], way.there, *asked[way.place + 1 :]) in shown]
    return known if len(known) == 1 else ways


def _is_share(facts: Facts, around: Surroundings, way: _Way) -> bool:
    context = context_of(facts, around, (way.asked, way.there))
    return any(owner.ranks for owner in context.ordered(way.pair.narrow)[:1])


def _cause(facts: Facts, want: tuple[str, ...], ways: list[_Way], what: str) -> str:
    told = "; or ".join(map(str, ways))
    both = " The number of elements is the same for both, and does not tell which." if len(ways) > 1 else ""
    true = f"Then the {what} is the padded one, and the reshape takes the model's own size."
    wide = f"Then the reshape takes the padded size, and the {what} has the model's own."
    side = true if ways[0].there == ways[0].pair.wide else wide
    fits = f"A reshape to [{', '.join(want)}] does not fit {facts.match.groups['elements']} elements."
    return f"{fits} If one size alone is wrong, it is {told}.{both} {side}"


def _rule(facts: Facts, ways: list[_Way]) -> str:
    """How each padded size comes of the true one; of two ways also by halves, where the weight is gate and up as one."""
    if len(ways) == 1:
        return ways[0].pair.rounded()
    joined = is_joined(f"{facts.function} {facts.code}")
    halves = [facts.pair(way.pair.narrow // 2, way.pair.wide // 2) for way in ways if joined and way.place == 1]
    each = [f"each half, {half.rounded()}" for half in halves if half.alignments]
    return "; or ".join(dict.fromkeys([*(way.pair.rounded() for way in ways), *each]))


def _tries(facts: Facts, around: Surroundings, want: tuple[str, ...], way: _Way) -> tuple[str, ...]:
    """Commands with the ranks that the text states, else those of which another size of the weight is a share."""
    found = checks(facts, around, way.pair, modes(facts), shared=False)
    model = found[0].partition("--models ")[2].split(" ")[0]
    tried = " --tp " in found[0]
    ranks = 0 if tried else around.ranks_at(facts.number) or _ranks(facts, around, want, model)
    if ranks < 2:
        return found
    return tuple(one.replace(f"--models {model}", f"--models {model} --tp {ranks}") for one in found)


def _ranks(facts: Facts, around: Surroundings, want: tuple[str, ...], model: str) -> int:
    sizes = {int(size) for size in want if int(size) >= _LEAST}
    shares = (context_of(facts, around, (size,)).ordered(size) for size in sizes)
    return next((owner.ranks for found in shares for owner in found if owner.ranks and owner.model == model), 0)
