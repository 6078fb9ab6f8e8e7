"""What a line's text alone tells of its place in a failure: looked at once, since a log of failures has the same lines again."""

from functools import lru_cache
from typing import NamedTuple

from harness.diagnosis.log.again.ends import begins_another
from harness.diagnosis.log.forms import SUMMARY, chains, goes_on, in_one_line, is_exception

_SHORT = 1000  # what is remembered


class Signs(NamedTuple):
    """``begins`` another failure in any case, or ``begins_sure`` where a failure is sure to be there; an exception's own line.

    ``told`` is the exception in a line that begins with its place, ``summary`` says that it is of pytest's, ``belongs`` that it
    goes on below an exception, and ``chains`` that it leads from one to the next.
    """

    begins: bool
    begins_sure: bool
    exception: bool
    told: bool
    summary: bool
    belongs: bool
    chains: bool
    blank: bool


def signs_of(text: str) -> Signs:
    """The signs of a line's text."""
    return _remembered(text) if len(text) < _SHORT else _signs(text)


def _signs(text: str) -> Signs:
    bare = text.lstrip()
    return Signs(
        begins_another(bare, False),
        begins_another(bare, True),
        is_exception(bare),
        bool(in_one_line(text)),
        bool(SUMMARY.match(text)),
        goes_on(text),
        chains(text),
        not bare,
    )


_remembered = lru_cache(maxsize=4096)(_signs)
