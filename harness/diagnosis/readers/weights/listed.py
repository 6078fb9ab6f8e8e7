"""A load that lists several parameters whose sizes do not fit: what explains one need not explain the others."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.readers.meeting.relations import is_vocabulary
from harness.diagnosis.widths import Pair, read_pair

_LISTED = re.compile(
    r"size mismatch for (?P<name>[\w.]+): copying a param with shape (?P<came>torch\.Size\(\[[\d, ]*\]\)) from checkpoint, "
    r"the shape in current model is (?P<made>torch\.Size\(\[[\d, ]*\]\))"
)
_MOST = 3


class Parameter(NamedTuple):
    """A parameter by its name, and a dimension's size in the checkpoint and in the model."""

    name: str
    came: int
    made: int

    @property
    def pair(self) -> Pair:
        """The two sizes."""
        return read_pair(self.came, self.made)


def listed(facts: Facts) -> list[Parameter]:
    """The parameters that the text lists, each pair of sizes once."""
    found: dict[tuple[int, int], Parameter] = {}
    for entry in _LISTED.finditer(facts.whole):
        for one in _differing(entry):
            found.setdefault((min(one.came, one.made), max(one.came, one.made)), one)
    return list(found.values())


def _differing(entry: re.Match[str]) -> Iterator[Parameter]:
    came, made = sizes(entry["came"]), sizes(entry["made"])
    for a, b in zip(came, made, strict=True) if len(came) == len(made) else ():
        if a != b and int(a) and int(b):
            yield Parameter(entry["name"], int(a), int(b))


def of_a_width(facts: Facts) -> Facts:
    """The facts with the message of the first parameter whose width padding explains; as they are where none is."""
    parameters = listed(facts) if facts.match.kind.reader == "sizes" else []
    for one in parameters:
        if one.pair.padded and not is_vocabulary(facts, one.pair):
            return facts if one.name == parameters[0].name else _told_of(facts, one)
    return facts


def _told_of(facts: Facts, parameter: Parameter) -> Facts:
    """The facts with the message of one parameter."""
    matches = facts.texts.every(facts.match)
    own = [match for match in matches if f"for {parameter.name}:" in match.text] or [
        match
        for match in matches
        if {str(parameter.came), str(parameter.made)} <= {*re.findall(r"\d+", match.text)} and not match.wrapped
    ]
    return replace(facts, match=own[0], number=facts.texts.whole.number(own[0].place)) if own else facts


def with_others(facts: Facts, reading: Reading) -> Reading:
    """The reading with the other parameters whose sizes it does not name, and whether it explains those."""
    own = _LISTED.search(facts.message)
    parameters = [one for one in listed(facts) if own is None or one.name != own["name"]]
    others = [one for one in parameters if not _names(reading.cause, one.pair)]
    if not others or "other-model" in reading.tags:
        return reading
    alike = [one for one in others if one.pair.ratio > 1 and f" is {one.pair.ratio} x " in reading.cause]
    rest = [one for one in others if one not in alike]
    more = _told(facts, " So it is with ", alike) + _told(facts, " That does not explain ", rest)
    return replace(reading, cause=f"{reading.cause}{more}")


def _told(facts: Facts, begins: str, parameters: list[Parameter]) -> str:
    """A sentence on some parameters, each with its sizes and what they are to each other; empty for none."""
    if not parameters:
        return ""
    told = "; ".join(
        f"{one.name}, {one.came} in the checkpoint and {one.made} in the model ({_relation(facts, one.pair)})"
        for one in parameters[:_MOST]
    )
    left = len(parameters) - _MOST
    return f"{begins}{told}{f'; and {left} more pairs of sizes' if left > 0 else ''}."


def _names(text: str, pair: Pair) -> bool:
    """Whether a text names both sizes beside each other."""
    sides = rf"{pair.narrow}\b(?: and | with ){pair.wide}", rf"{pair.wide}\b(?: and | with ){pair.narrow}"
    return any(re.search(rf"\b{side}\b", text) for side in sides)


def _relation(facts: Facts, pair: Pair) -> str:
    """In words, what two sizes are to each other by themselves."""
    if is_vocabulary(facts, pair):
        multiples = ", or to ".join(alignment.to for alignment in pair.alignments)
        return f"a vocabulary's{f', {pair.wide} = {pair.narrow} rounded up to {multiples}' if pair.possible else ''}"
    if pair.padded:
        return pair.rounded()
    if pair.ratio:
        return f"{pair.wide} is {pair.ratio} x {pair.narrow}"
    return f"{pair.rounded()}, perhaps by chance" if pair.possible else "neither is the other rounded up or multiplied"
