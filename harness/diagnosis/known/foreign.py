"""A model that a log names and that is not among those known here."""

import re
from collections.abc import Iterator

from harness.diagnosis.owners import published

# A name as an option, a setting or a configuration has it: ORG/NAME with a digit in it; or one with numbers of parameters anywhere.
# They begin with letters: a search for those is fast, and what stands before them is looked at where they are found.
_SET = re.compile(
    rb"model(?:[_-](?:tag|path|name|id))?['\"]?(?:=|: ?|(?P<space> ))['\"]?"
    rb"(?P<name>[a-z0-9][\w.-]{0,80}/[\w.-]{0,80}\d[\w.-]{0,80})(?![\w/])"
)
_SERVED = re.compile(rb"vllm serve (?P<name>[a-z0-9][\w.-]{0,80}/[\w.-]{0,80}\d[\w.-]{0,80})(?![\w/])")
_PARAMETERS = re.compile(rb"\db-a\d")
_SIZED = re.compile(
    rb"(?<![\w./-])(?:[a-z0-9][\w.-]{0,80}/)?(?P<name>[a-z][\w.]{0,30}(?:-[\w.]{1,30}){0,6}?-\d{1,4}b-a\d{1,3}(?:\.\d)?b[\w.-]{0,60})"
)
_NEAR = 120  # letters before and after what a name has, in which the whole of it stands
_STORES = frozenset(
    ("models", "model", "checkpoints", "ckpts", "data", "out", "output", "outputs", "weights", "runs", "hub")
)


def foreign_in(lowered: bytes) -> str:
    """The first model that a piece of a log in small letters names, in a setting or by its numbers of parameters; empty for none.

    A name that is a part of a known one, or has one in it, is no other model's.
    """
    return next((name for name in _names(lowered) if name.partition("/")[0] not in _STORES and not _is_known(name)), "")


def _names(lowered: bytes) -> Iterator[str]:
    """Names of models. One with a number of parameters is sought around that: a search from every word would be slow."""
    for found in _SET.finditer(lowered):
        before = lowered[max(0, found.start() - 2) : found.start()]
        if before == b"--" or not (found["space"] or before[-1:].isalnum() or before[-1:] in (b"_", b"-")):
            yield found["name"].decode()
    yield from (found["name"].decode() for found in _SERVED.finditer(lowered))
    for number in _PARAMETERS.finditer(lowered):
        near = lowered[max(0, number.start() - _NEAR) : number.end() + _NEAR]
        yield from (found["name"].decode() for found in _SIZED.finditer(near))


def _is_known(name: str) -> bool:
    bare = name.rpartition("/")[2].replace("_", "-")
    return any(shape.name in bare or bare in shape.name or _stem(shape.name) in bare for shape in published())


def _stem(name: str) -> str:
    return re.sub(r"\.\d+\b.*", "", name)
