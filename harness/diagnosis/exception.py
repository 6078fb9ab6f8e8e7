"""From an exception to its diagnosis: its text is read as a log's is, and its classes count beside the text."""

import traceback
from dataclasses import replace

from harness.base.exception_text import text_of
from harness.base.source import is_library
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.facts import Facts
from harness.diagnosis.known.kinds import Kind, Match, kinds
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.lines import LineReader
from harness.diagnosis.reading import diagnosis_of, facts_of
from harness.diagnosis.surroundings import Surroundings

# No message of torch needs more; a user's exception may carry a whole log.
_LONGEST = 1 << 16


def read_exception(error: BaseException) -> tuple[Facts, Diagnosis]:
    """What an exception of a layer under test says, and what it is.

    Frames of torch, of the harness and of the standard library do not count.
    """
    text = f"{type(error).__module__}.{type(error).__qualname__}: {text_of(error)}"[:_LONGEST]
    lines = [*_user_frames(error), *text.split("\n")]
    reader = LineReader()
    failure = Failure("", [line for number, raw in enumerate(lines, 1) for line in reader.read(number, raw)])
    facts = facts_of(failure)
    by_class = kind_of_class(error)
    if by_class is not None and by_class.rank < facts.match.kind.rank:
        facts = Facts(facts.texts, Match(by_class, len(by_class.patterns), {}, "", 0, False), len(lines))
    around = Surroundings()
    around.look(text.encode("utf-8", "replace"))
    facts = replace(facts, layer=True)
    return facts, diagnosis_of(facts, failure, 1, (), around)


def kind_of_class(error: BaseException) -> Kind | None:
    """The first kind of failure that an exception's class, or a base class, belongs to."""
    names = {base.__name__ for base in type(error).__mro__}
    return next((kind for kind in kinds() if kind.classes & names), None)


def _user_frames(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not is_library(frame.filename)]
    return "".join(traceback.format_list(users)).splitlines()
