"""A model that a log names and that is not among those known here."""

import re

from harness.diagnosis.owners import published

# A name as an option, a setting or a configuration has it: ORG/NAME with a digit in it; or one with numbers of parameters anywhere.
_SET = re.compile(
    rb"(?:--model(?:-path|-name|-id)?[ =]|\bmodel(?:[_-](?:tag|path|name|id))?['\"]?(?:=|: ?)|\bvllm serve )['\"]?"
    rb"(?P<name>[a-z0-9][\w.-]{0,80}/[\w.-]{0,80}\d[\w.-]{0,80})(?![\w/])"
)
_SIZED = re.compile(
    rb"(?<![\w./-])(?:[a-z0-9][\w.-]{0,80}/)?(?P<name>[a-z][\w.]{0,30}(?:-[\w.]{1,30}){0,6}?-\d{1,4}b-a\d{1,3}(?:\.\d)?b[\w.-]{0,60})"
)
_STORES = frozenset(
    ("models", "model", "checkpoints", "ckpts", "data", "out", "output", "outputs", "weights", "runs", "hub")
)


def foreign_in(lowered: bytes) -> str:
    """The first model that a piece of a log in small letters names, in a setting or by its numbers of parameters; empty for none.

    A name that is a part of a known one, or has one in it, is no other model's.
    """
    names = (found["name"].decode() for form in (_SET, _SIZED) for found in form.finditer(lowered))
    return next((name for name in names if name.partition("/")[0] not in _STORES and not _is_known(name)), "")


def _is_known(name: str) -> bool:
    bare = name.rpartition("/")[2].replace("_", "-")
    return any(shape.name in bare or bare in shape.name or _stem(shape.name) in bare for shape in published())


def _stem(name: str) -> str:
    return re.sub(r"\.\d+\b.*", "", name)
