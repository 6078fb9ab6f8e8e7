"""Sizes that do not fit and are not both numbers: a symbol, an empty tensor, or a size that the text leaves out."""

import re

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.readers.meeting.topics import spoken
from harness.diagnosis.readers.pairs import size_at, speaks
from harness.diagnosis.widths import Pair

_MORE = re.compile(r"[a-z]\w* ?\+ ?(?P<more>\d+)$")
_HINTED = re.compile(r"(?P<symbol>\w+): ?hint ?= ?(?P<size>\d+)")


def hinted(facts: Facts, pair: Pair) -> Reading | None:
    """The reading of a symbol whose number in that call the message has, and a number that it does not fit; None elsewhere."""
    found = [_HINTED.match(facts.match.groups.get(name, "")) for name in "ab"]
    symbols = {int(one["size"]): one["symbol"] for one in found if one}
    if len(symbols) != 1:
        return None
    ((size, symbol),) = symbols.items()
    other = pair.wide if size == pair.narrow else pair.narrow
    return Reading(
        verdict=UNDECIDED if pair.possible and speaks(facts) else OTHER,
        stage=facts.called,
        cause=f"A size that the trace holds as a symbol, {symbol}, which was {size} in that call, meets {other}. What is a symbol "
        "changes from call to call, as a number of tokens, of samples or of positions does, unless every size was made dynamic: "
        f"most likely two dimensions meet that mean different things.{spoken(facts)}",
        against=(pair.unlikely(),),
        look=f"the shapes of both at the user's line: which of its dimensions {symbol} is, and what the other tensor has there",
        widths=(Width(pair.narrow, False, ()), Width(pair.wide, False, ())),
        rule="no rule",
        tags=frozenset(("symbol",)),
    )


def unknown_sizes(facts: Facts) -> Reading:
    """Sizes that do not fit and are not both in the text as numbers: one or both are symbols, or left out."""
    if read := _more_dimensions(facts):
        return read
    if "0" in (sizes_met := _met(facts)):
        return _empty(facts, sizes_met)
    symbol, number = _one_symbol(sizes_met)
    if not symbol:
        return Reading(
            verdict=UNDECIDED if speaks(facts) else OTHER,
            cause="Two sizes do not fit, and the text does not give both as numbers.",
            look="the whole message, from the exception's name to its end",
        )
    hint = _HINTED.match(symbol)
    symbol = hint["symbol"] if hint else symbol
    beside = f"the constant {number}" if number.isdigit() else number
    stands = (
        f"{symbol} was {hint['size']} in that call, and the text does not say which number the other stands for"
        if hint
        else f"The text does not say which number {symbol} stands for"
    )
    more = next((found["more"] for size in sizes_met if (found := _MORE.search(size))), "")
    added = (
        f" One of them has {more} added: so reads what was padded by {more}, and what was joined with so many."
        if more
        else ""
    )
    return Reading(
        verdict=UNDECIDED if speaks(facts) or more else OTHER,
        stage=facts.called,
        cause=f"A size that the trace holds as a symbol, {symbol}, meets {beside}, and they are not the same. "
        f"{stands}, so no alignment can be told.{added}",
        against=()
        if more
        else ("padding: a width that a kernel rounds up is a number in both places; nothing here says that it is one",),
        look=f"what {symbol} was in the failing call (TORCH_LOGS=dynamic names its source and its hint); eager code shows both",
        widths=(Width(int(number), False, ()),) if number.isdigit() else (),
        tags=frozenset(("symbol",)),
    )


def _more_dimensions(facts: Facts) -> Reading | None:
    """The reading of two shapes of which one has more dimensions, and the same last ones; None for all others."""
    groups = facts.match.groups
    a, b = (sizes(groups.get(name, "")) for name in ("a_shape", "b_shape"))
    short, long = sorted((a, b), key=len)
    if long and set(long) == {"1"} and "[]" in (groups.get("a_shape"), groups.get("b_shape")):
        return _of_one(facts, ", ".join(long))
    if not short or len(short) == len(long) or long[-len(short) :] != short:
        return None
    more = ", ".join(long[: -len(short)])
    return Reading(
        verdict=OTHER,
        stage="load of the weights" if facts.loads_weights else "",
        cause=f"The number of dimensions differs: [{', '.join(long)}] is {more} times [{', '.join(short)}]. The one is of all "
        "experts, layers or samples, where the other is of one; or it is another tensor than the code takes it for."
        if facts.loads or speaks(facts)
        else f"The number of dimensions differs: [{', '.join(long)}] has [{', '.join(short)}] {more} times, and a result of the "
        "smaller shape has no place for it.",
        against=("padding and widths: the last sizes agree",),
        look="the shapes of both at the user's line, and which of them should have the dimension",
        tags=frozenset(("dimensions",)),
    )


def _of_one(facts: Facts, shape: str) -> Reading:
    """A number without dimensions beside a tensor of one element."""
    return Reading(
        verdict=OTHER,
        stage="load of the weights" if facts.loads_weights else "",
        cause=f"A number without dimensions, of shape [], is to take a tensor of shape [{shape}]: one element in both, and another "
        "number of dimensions. So is a scale that one side saved as a number and the other as a list of one.",
        against=("padding and widths: both have one element",),
        look="the line that copies it: reshape(()) or squeeze() of what comes in, or an index that keeps the dimension",
        tags=frozenset(("dimensions",)),
    )


def _met(facts: Facts) -> tuple[str, ...]:
    """The two sizes as the message has them, numbers or not; empty where it has not both."""
    groups = facts.match.groups
    if "a_shape" in groups and "b_shape" in groups and facts.match.kind.reader == "product":
        a, b = sizes(groups["a_shape"]), sizes(groups["b_shape"])
        found = (size_at(a, -1), size_at(b, -2) or size_at(b, -1))
    elif "a_shape" in groups and "b_shape" in groups and facts.loads:
        a, b = sizes(groups["a_shape"]), sizes(groups["b_shape"])
        found = (size_at(a, -1), size_at(b, -1))
    else:
        found = (groups.get("k", groups.get("a", groups.get("m", ""))), groups.get("b", ""))
    return found if all(found) else ()


def _one_symbol(met: tuple[str, ...]) -> tuple[str, str]:
    """The one of two sizes that is a symbol, and the other; empty without one."""
    symbols = [size for size in met if not size.isdigit()]
    if not symbols:
        return "", ""
    return symbols[0], met[1] if met[0] == symbols[0] else met[0]


def _empty(facts: Facts, met: tuple[str, ...]) -> Reading:
    """One of the two tensors has no elements."""
    other = next((size for size in met if size != "0"), "0")
    return Reading(
        verdict=OTHER,
        stage="load of the weights" if facts.loads_weights else "",
        cause=f"One of the two tensors is empty: its size is 0, where {other} is asked for. So is a weight that was not loaded, was "
        "freed, or is on another rank; at load, one that was saved without its elements, as shards that were not gathered are.",
        against=("padding: nothing is as wide as 0",),
        look="which of the two is empty at the user's line, and who fills it; at load, its shape in the checkpoint",
        widths=(Width(int(other), False, ()),) if other.isdigit() and other != "0" else (),
        tags=frozenset(("empty",)),
    )
