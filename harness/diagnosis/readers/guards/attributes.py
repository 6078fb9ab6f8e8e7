"""A guard on a number that a module holds: what it counts, and how the code does without the guard."""

import re

_ATTRIBUTE = re.compile(r"(?:L\[['\"]self['\"]\]|self)\.(?P<name>[A-Za-z_][\w.]*) == -?\d+$")
_ROWS = re.compile(r"\.(?:shape\[0\]|size\(0\)|shape\[:1\])|\blen\(")
_COUNTS = re.compile(r"rows|tok|batch|bucket|bs\b", re.I)
FILLS_ROWS = (
    " The line beside it takes the number of rows that came from it: it is the number that rows are filled up to, which the "
    "compiled code holds as a constant."
)


def fills_rows(guard: str, beside: str) -> bool:
    """Whether a guard is on a module's number, from which the code beside it takes the rows that came: ``self.n - x.shape[0]``."""
    found = _ATTRIBUTE.search(guard.removeprefix("guard "))
    if not found:
        return False
    name = re.escape(found["name"].rpartition(".")[2])
    taken = re.search(rf"\b{name}\b\)? ?- ?(?P<rows>[\w.]+(?:\[0\]|\(0\))?)", beside)
    return bool(taken and (_ROWS.search(taken["rows"]) or _COUNTS.search(taken["rows"])))


def instead_of(guard: str, rows: bool) -> str:
    """In words, how code does without a guard on a module's number; empty for any other guard. ``rows`` for a number of rows."""
    found = _ATTRIBUTE.search(guard.removeprefix("guard "))
    if not found:
        return ""
    ways = f"{'take it from the shape of what comes in, ' if rows else ''}hold it in a tensor"
    return (
        f"who sets self.{found['name']} between calls: a number on a module is a constant for torch.compile; {ways}, or set "
        "torch._dynamo.config.allow_unspec_int_on_nn_module"
    )
