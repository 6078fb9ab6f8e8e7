"""Subjects of a corpus of planted faults, by the id of their entry: any object with an ``id`` and a ``subject``."""

from collections.abc import Iterable
from typing import Any

from harness.base.errors import BadInput, unknown


def planted_subject(module: object, name: str) -> object:
    """The subject of the entry ``name`` in an imported corpus module. Raises BadInput with the nearest ids."""
    known = {**entries(module, "FAULTS"), **entries(module, "CORRECT")}
    if name not in known:
        raise unknown("fault", name, known)
    return known[name].subject


def entries(module: object, name: str, kind: type = object) -> dict[str, Any]:
    """The entries in ``module.name`` by id; none where the module lacks the name. Raises BadInput on one that is no ``kind``."""
    corpus = getattr(module, "__name__", str(module))
    value = getattr(module, name, ())
    listed = list(value.values() if isinstance(value, dict) else value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(entry, kind) and hasattr(entry, "subject") for entry in listed):
        raise BadInput(f"corpus {corpus!r}: expected {name} to hold harness.{kind.__name__} entries")
    ids = [entry.id for entry in listed]
    if twice := next((name for name in ids if ids.count(name) > 1), None):
        raise BadInput(f"corpus {corpus!r}: two entries are called {twice!r}; expected each id once")
    return dict(zip(ids, listed, strict=True))
