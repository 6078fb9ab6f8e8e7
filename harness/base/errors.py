"""Errors that a user can fix: one line that says what is wrong, what was expected and what to do."""

import difflib
from collections.abc import Iterable

from harness.base.printable import bounded, printable

_LONGEST_LINE = 2_000


class BadInput(Exception):
    """Input that cannot be used. Its text is the one line that the user sees; the exit code is 2."""

    def __init__(self, text: str) -> None:
        # It may quote a user's error of many lines, with anything in them.
        super().__init__(printable(" ".join(bounded(text, _LONGEST_LINE).split("\n"))))


class Skip(Exception):
    """A case that cannot run here. Its text is the reason in the report. A subject may raise it too."""


class DeviceLost(Exception):
    """The device can run nothing more in this process. ``__cause__`` is the exception of the call that lost it, if one raised."""


def nearest(word: str, valid: Iterable[str], count: int = 3) -> list[str]:
    """Up to ``count`` names of ``valid`` that are spelt most like ``word``, the nearest first."""
    names = sorted(valid)
    lowered = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.lower(), lowered, n=count, cutoff=0.5)
    inside = [name for low, name in lowered.items() if word and word.lower() in low and low not in close]
    return [lowered[low] for low in close] + inside[: max(0, count - len(close))]


def unknown(kind: str, word: str, valid: Iterable[str], listed: bool = True) -> BadInput:
    """The error for an unknown name, with the nearest valid ones. ``listed``: `harness list` shows all of them."""
    names = sorted(valid)
    near = nearest(word, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"valid: {', '.join(names[:12])}"
    return BadInput(f"unknown {kind} {word!r}; {hint}" + (" (`harness list` shows all)" if listed else ""))
