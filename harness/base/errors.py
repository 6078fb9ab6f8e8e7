"""Errors that a user can mend: one line that says what is wrong, what was expected and what to do."""

import difflib
from collections.abc import Iterable


class BadInput(Exception):
    """Input from outside that cannot be used. Its text is the one line the user sees; the exit code is 2."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split("\n")))  # a user's own error in it may have many lines


class Skip(Exception):
    """A case that cannot run here. Its text is the reason that the report gives; a subject may raise it too."""


class DeviceLost(Exception):
    """Nothing more can be run on the device in this process. ``__cause__`` is what a call raised, where one did."""


def nearest(word: str, valid: Iterable[str], count: int = 3) -> list[str]:
    """The names in ``valid`` most like ``word``, best first."""
    names = sorted(valid)
    lowered = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.lower(), lowered, n=count, cutoff=0.5)
    inside = [name for low, name in lowered.items() if word and word.lower() in low and low not in close]
    return [lowered[low] for low in close] + inside[: max(0, count - len(close))]


def unknown(kind: str, word: str, valid: Iterable[str], listed: bool = True) -> BadInput:
    """An error for a name that does not exist, with the nearest that do; ``listed`` where `harness list` shows them."""
    names = sorted(valid)
    near = nearest(word, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"valid: {', '.join(names[:12])}"
    return BadInput(f"unknown {kind} {word!r}; {hint}" + (" (`harness list` shows all)" if listed else ""))
