"""Lines of a log that stand together and give one failure, such as what torch writes where a limit of recompilations is met."""

import re
from typing import NamedTuple

from harness.diagnosis.log.prefixes import TORCH

_DIGITS = b"0123456789"
_HEAD = TORCH.encode() + b" "
_MET = _HEAD + rb"(?=torch\._dynamo hit config)"
# Each line tells this failure from others only as far as it is told of below.
_LIMIT = re.compile(
    _MET
    + rb"[^\n]{1,250}\n(?:"
    + _HEAD
    + rb" {2,}[^\n]{1,250}\n){1,2}(?:"
    + _HEAD
    + rb"To [^\n\d]{1,250}\n){0,2}(?="
    + _MET
    + rb")"
)
_PREFIX = re.compile(rb"^" + _HEAD, re.M)
_OTHERWISE_TOLD = re.compile(rb"expected size|File \"|Error|Exception")
_TOLD = 4  # lines that tell a failure without an exception from others

Key = tuple[bytes, ...]


class Block(NamedTuple):
    """A section or a line: where it ends, its form without numbers, the lines that tell its failure, how many lines it has.

    ``follower`` is the line of a summary that comes next, and ``place`` where a section's failure happened, as file:line.
    """

    end: int
    form: Key
    key: Key
    lines: int
    follower: bytes = b""
    place: str = ""


def limit_at(chunk: bytes, place: int) -> Block | None:
    """The limit of recompilations that is met at ``place``, if another is met below it at once."""
    found = _LIMIT.match(chunk, place)
    if found is None or not found[0].isascii() or _OTHERWISE_TOLD.search(found[0]):
        return None
    lines = _PREFIX.sub(b"", found[0]).splitlines()
    form = tuple(line.translate(None, _DIGITS) for line in lines)
    return Block(found.end(), form, tuple(lines[:_TOLD]), len(lines))
