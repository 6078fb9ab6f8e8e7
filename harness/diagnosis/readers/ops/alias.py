"""An op that gives its input back: what pads, aligns or cuts has nothing to do at some widths."""

import re
from dataclasses import replace

from harness.diagnosis.diagnosis import UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.known.alignments import COMMON, multiples_of_rules
from harness.diagnosis.owners import owners
from harness.diagnosis.readers.entry import read_entry
from harness.diagnosis.readers.ops.padding import line_of, pads_or_cuts
from harness.diagnosis.readers.pairs import speaks
from harness.diagnosis.surroundings import Surroundings

_NUMBER = re.compile(r"(?<![\w.])\d{2,5}(?![\w.])")
_KEYWORD = re.compile(r"(\w+)=(?!=)")
_DENIES = re.compile(r"padding|a wrong width")
_PADDED = (
    "{how} at a width that needs no padding, or by a slice: {by}. Where the width is a multiple already, or is the true one, such "
    "an op has nothing to do and gives the input itself back; at other widths it makes a tensor of its own, and nothing fails. "
    "A slice that cuts padding off is a view of its input at any width."
)


def read_alias(facts: Facts, around: Surroundings) -> Reading:
    """The entry's words; where the op or the user's line speaks of padding, that the width may be why."""
    reading = read_entry(facts, around)
    by, how = _by(facts, reading.stage), "Most likely"
    if not by:
        by, how = _perhaps(facts, reading.stage), "Perhaps"
    if not by:
        return reading
    return replace(
        reading,
        verdict=UNDECIDED,
        cause=f"{reading.cause} {_PADDED.format(how=how, by=by)}",
        against=tuple(text for text in reading.against if not _DENIES.match(text)),
        look=f"{reading.look}; the branch of the op for a width that needs nothing, which has to return a clone as well",
    )


def _by(facts: Facts, name: str) -> str:
    """In words, what says that the op pads or cuts: its name, or the name of an argument; empty for neither."""
    given = _given(facts, name)
    numbers = _NUMBER.findall(given)
    if pads_or_cuts(name.rpartition("::")[2]):
        return f"by its name {name} pads, aligns or cuts" + (
            f", and it is given {', '.join(numbers)}" if numbers else ""
        )
    words = " ".join(_KEYWORD.findall(given))
    return f"by its argument {name} pads, aligns or cuts ({given})" if pads_or_cuts(words) else ""


def _perhaps(facts: Facts, name: str) -> str:
    """In words, what allows that it does: the user's line, or beside words of experts a number that is a multiple or a width."""
    known = [number for number in _NUMBER.findall(_given(facts, name)) if _is_known(int(number))]
    if known and speaks(facts):
        return f"{name} is given {', '.join(known)}, which may be a multiple or a width that it pads or cuts to"
    return "the user's line speaks of padding or of a slice" if pads_or_cuts(line_of(facts)) else ""


def _is_known(number: int) -> bool:
    """Whether kernels round up to a number, or a model has it as a width."""
    return number in {*COMMON, *multiples_of_rules()} or any("/" not in owner.part for owner in owners(number))


def _given(facts: Facts, name: str) -> str:
    """The arguments of the op's call, as a line of the text has them; empty where none has."""
    bare = name.rpartition("::")[2]
    called = re.search(rf"(?<!\w){re.escape(bare)}(?:\.default)?\((?P<given>[^()]{{1,200}})\)", facts.whole)
    return called["given"] if called and bare.isidentifier() else ""
