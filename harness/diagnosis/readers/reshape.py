"""A reshape that does not fit the number of elements: a width taken from the wrong place."""

from dataclasses import replace
from math import prod

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.owners import catalogue
from harness.diagnosis.readers.meeting.relations import multiple
from harness.diagnosis.readers.meeting.scales import padded_parts
from harness.diagnosis.readers.meeting.topics import speaks_of, spoken
from harness.diagnosis.readers.meeting.unrelated import unrelated
from harness.diagnosis.readers.pairs import modes, padded, speaks
from harness.diagnosis.readers.view import read_strided
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import COMMON, Pair, alignments, multiples_of_rules, read_pair

_HEAD_DIMS = (32, 64, 80, 96, 128, 192, 256)
_LEAST_ODD = 15
_AGAINST = (
    "a tensor that is not contiguous: the number of elements is wrong whatever the strides are",
    "a wrong fake: it fails in Inductor's assert, not in a reshape",
)


def read_reshape(facts: Facts, around: Surroundings) -> Reading:
    """The width of the tensor beside the width that is asked for."""
    groups = facts.match.groups
    if "strides" in groups:
        read = read_strided(facts, around, sizes(groups["have"]), sizes(groups["strides"]))
        return replace(read, title="a view of a tensor that is not contiguous")
    want = sizes(groups["want"])
    found = None if _misfit(want, groups["elements"]) else _widths(facts, around, want, groups["elements"])
    if found is None:
        return _unknown(facts, want, groups["elements"])
    have, wanted = found
    pair = read_pair(have, wanted)
    if (pair.padded and not _is_of_heads(want)) or (pair.possible and speaks(facts) and not pair.heads):
        return _padded(facts, around, pair, have, wanted)
    if not (pair.heads or pair.ratio or pair.known):
        return _unknown(facts, want, groups["elements"])
    return unrelated(
        facts,
        pair,
        f"The reshape asks for another number of elements than the tensor has.{_one_off(want, groups['elements'])} If the leading "
        f"sizes agree, the width of the tensor ({have}) and the one that the reshape asks for ({wanted})",
    )


def _padded(facts: Facts, around: Surroundings, pair: Pair, have: int, wanted: int) -> Reading:
    asks_wide = wanted == pair.wide
    asked, is_ = ("padded", "true") if asks_wide else ("true", "padded")
    cut = "The padding is already cut off there." if asks_wide else "The padding was not cut off before it."
    guessed = asks_wide and "-1" in sizes(facts.match.groups["want"]) and _divides_by_chance(pair.narrow)
    return padded(
        pair,
        ("want-padded",) if asks_wide else ("have-padded",),
        sure=not guessed or speaks(facts) or any(shape.hidden == pair.narrow for shape in around.models),
        stage="final reshape, after the routed experts"
        if speaks(facts) or not facts.code
        else "a reshape, as the final one after the routed experts is",
        operands=(f"the tensor is {have} wide", f"the reshape asks for {wanted}"),
        cause=f"The reshape takes the {asked} width, and the tensor has the {is_} one: {pair.rounded()}. {cut}",
        against=_AGAINST,
        look="where the reshape has its width from: the model's hidden size, not the experts' own",
        tries=checks(facts, around, pair, modes(facts), shared=False),
    )


def _divides_by_chance(width: int) -> bool:
    """Whether many numbers of elements are a multiple of a width, of which nothing else is known: its odd part is small."""
    return width // (width & -width) < _LEAST_ODD


def _widths(facts: Facts, around: Surroundings, want: tuple[str, ...], elements: str) -> tuple[int, int] | None:
    """The width of the tensor and the width that is asked for, in elements."""
    if not want or not want[-1].isdigit():
        return None
    wanted, leading = int(want[-1]), want[:-1]
    if _is_of_heads(want):
        wanted, leading = wanted * int(want[-2]), want[:-2]
    count, rest = _known(elements, leading)
    if count and rest:
        return (count // rest, wanted) if count % rest == 0 and count // rest not in (1, wanted) else None
    shown = [int(size[-1]) for size in facts.fakes if size and size[-1].isdigit()]
    if count and shown and count % shown[0] == 0 and shown[0] != wanted:
        return shown[0], wanted
    return _guessed(count, wanted, around) if count else None


def _is_of_heads(want: tuple[str, ...]) -> bool:
    """Whether a shape ends with a number of heads and their size."""
    return len(want) > 2 and want[-1].isdigit() and int(want[-1]) in _HEAD_DIMS and want[-2].isdigit()


def _known(elements: str, leading: tuple[str, ...]) -> tuple[int, int]:
    """The elements, and the product of the leading sizes, each 0 where it is not known; a common symbol is left out of both."""
    number, _, symbol = elements.partition("*")
    if not number.isdigit():
        number, symbol = symbol, number
    if not number.isdigit():
        return 0, 0
    known = prod(int(size) for size in leading if size.isdigit())
    unknown = [size for size in leading if not size.isdigit()]
    return int(number), known if unknown == ([symbol] if symbol else []) else 0


def _guessed(count: int, wanted: int, around: Surroundings) -> tuple[int, int] | None:
    """With -1 tokens: the width that divides the elements and is ``wanted`` before or after padding, one of the two a model's."""
    shapes = [*around.models, *catalogue().shapes.values()]
    every = dict.fromkeys(size for s in shapes for size in (s.hidden, s.latent, s.intermediate) if size)
    wider = [-(-wanted // m) * m for m in multiples_of_rules()] if wanted in every else []
    for size in (*every, *wider):
        if count % size == 0 and size != wanted and any(a.rules for a in read_pair(size, wanted).alignments):
            return size, wanted
    return None


def _of_parts(facts: Facts, want: tuple[str, ...], elements: str, parts: list[str]) -> Reading:
    """A shape of scales, or of gate and up as one, in which one size may be a padded model's."""
    return Reading(
        verdict=FAMILY if speaks(facts) or speaks_of("scales", facts) else UNDECIDED,
        stage="a reshape of weights or of their scales",
        cause=f"A reshape to [{', '.join(want)}] does not fit {elements} elements. If one size alone is wrong, the numbers are "
        f"those of padding: {'; or '.join(parts)}. One side is rounded up for a kernel, and the other is the model's own.",
        against=(*_AGAINST, "chance: a model known here has the width, and a rule rounds it so"),
        look="who rounds the rows or the columns of the scales up, and which shape the caller takes for them",
        rule="; or ".join(parts),
        tags=frozenset(("blocks",)),
    )


def _unknown(facts: Facts, want: tuple[str, ...], elements: str) -> Reading:
    if parts := padded_parts(want, elements):
        return _of_parts(facts, want, elements, parts)
    says = _nothing(elements) or _factor(want, elements) or _misfit(want, elements)
    if elements == "1":
        says += " It is a single value, as the one scale of a whole tensor is."
    tile = _tile(want, elements)
    also = f"{_one_off(want, elements)}{tile}{spoken(facts)}"
    return Reading(
        verdict=UNDECIDED if (tile and speaks(facts)) or (facts.seen("pad") and not says) else OTHER,
        stage="attention" if facts.in_attention else "",
        cause=f"A reshape to [{', '.join(want)}] does not fit {elements} elements.{says}{also}",
        against=("padding of a hidden width: no width of a model known here gives these numbers",),
        look="the tensor's shape at the user's line",
        tags=frozenset(("halves",)) if says else frozenset(),
    )


def _nothing(elements: str) -> str:
    """In words, that the tensor is empty; empty where it is not."""
    if elements != "0":
        return ""
    return " The tensor is empty: nothing came there, as where a rank, an expert or a batch has no tokens."


def _misfit(want: tuple[str, ...], elements: str) -> str:
    """In words, which size the elements are no multiple of, where a later one is left open (-1) or one is 0; empty elsewhere."""
    if "0" in want and elements != "0":
        return " One of its sizes is 0: a number that the code reads from a configuration, or divides by, is 0 there."
    known = [int(size) for size in want if size.isdigit() and size != "1"]
    if ("-1" not in want[1:] and not ("-1" in want and len(known) > 1)) or not elements.isdigit():
        return ""
    whole = prod(known)
    off = [size for size in known if int(elements) % (whole // size) == 0]
    if int(elements) % whole == 0 or not off:
        return ""
    rows = (
        f" {off[0]} may count rows: the tensor has those of another batch, or of one that was not filled up."
        if str(off[0]) == want[0]
        else ""
    )
    without = " or without ".join(map(str, off))
    return f" {elements} is no multiple of {' x '.join(map(str, known))}, but is one without {without}.{rows}"


def _one_off(want: tuple[str, ...], elements: str) -> str:
    """In words, what each size would have to be if it alone were wrong; empty where the shape has a symbol or -1."""
    if not elements.isdigit() or not all(size.isdigit() and int(size) for size in want):
        return ""
    whole = prod(map(int, want))
    fits = [(n, int(size), int(elements) * int(size) / whole) for n, size in enumerate(want)]
    shown = [
        f"{right:.0f} in place of {size} in dimension {n}" for n, size, right in fits if right >= 1 and right % 1 == 0
    ]
    return f" If one size alone is wrong, it is {', or '.join(shown)}." if shown else ""


def _factor(want: tuple[str, ...], elements: str) -> str:
    """In words, a whole factor between what is asked for and what is there; empty for any other."""
    if not elements.isdigit() or not int(elements) or not all(size.isdigit() for size in want):
        return ""
    ratio = prod(map(int, want)) / int(elements)
    if not ratio or (ratio % 1 and (1 / ratio) % 1):
        return ""
    return f" The shape has {ratio:g} x as many elements{multiple(round(max(ratio, 1 / ratio)))}."


def _tile(want: tuple[str, ...], elements: str) -> str:
    """In words, that a few columns were rounded up to whole tiles, where the last size alone may be wrong; empty elsewhere."""
    if not elements.isdigit() or not all(size.isdigit() and int(size) for size in want):
        return ""
    have, rest = divmod(int(elements), prod(map(int, want[:-1])))
    few, many = sorted((have, int(want[-1])))
    if rest or not 0 < few < COMMON[0] or not alignments(few, many):
        return ""
    columns = f"{few} column{'s' if few > 1 else ''}"
    return (
        f" Or a layer of {columns} was rounded up to {many} for a kernel that computes whole tiles, and not everywhere."
    )
