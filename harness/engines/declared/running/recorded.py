"""What was declared: each op with its function, its fake and what it writes, and the place in the source that did it."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Function = Callable[..., Any]
_OWN = (__file__, str(Path(__file__).with_name("recorders.py")))


@dataclass(slots=True)
class Recorded:
    """One declared op: its function, its fake and what it is said to write. ``places`` are (file, line) that belong to it."""

    name: str
    real: Function
    mutates: Any
    fake: Function | None = None
    places: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Recorder:
    """Every op and every fake that was declared since ``install``."""

    ops: list[Recorded] = field(default_factory=list)
    fakes: dict[str, list[Function]] = field(default_factory=dict)

    def at(self, file: str, first: int, last: int) -> Recorded | None:
        """The op that was declared on these lines of a file."""
        for recorded in reversed(self.ops):
            if any(place == file and first <= line <= last for place, line in recorded.places):
                return recorded
        return None

    def fake_of(self, op: Recorded) -> Function | None:
        """The fake of an op, by its name with or without its namespace.

        Several ops may have one name, each declared by a factory of its own: the fake from the op's own factory comes first.
        """
        known = self.fakes.get(op.name) or self.fakes.get(op.name.rpartition("::")[2]) or []
        beside = [fake for fake in known if _scope(fake) == _scope(op.real)]
        others = [one for one in self.ops if one is not op and one.name == op.name]
        return next(iter(reversed(beside or ([] if others else known))), None)

    def op(self, name: str, real: Function, mutates: Any, fake: Function | None = None) -> None:
        """Record an op. The place is that of the caller of the helper, and of the function."""
        inner = inspect.unwrap(real)
        code = getattr(inner, "__code__", None)
        places = [_caller()] + ([(code.co_filename, code.co_firstlineno)] if code else [])
        self.ops.append(Recorded(str(name), real, mutates, fake, places))  # a stand-in may have made up the name

    def fake(self, name: Any, function: Function) -> None:
        """Record the fake of an op, by its name or by the op itself."""
        text = name.name() if isinstance(name, torch._ops.OpOverload) else str(getattr(name, "_qualname", name))
        for key in {text, text.rpartition("::")[2]}:
            self.fakes.setdefault(key, []).append(function)


def _scope(function: Function) -> tuple[str, str]:
    """The file of a function, and the function around it."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    return code.co_filename if code else "", getattr(inner, "__qualname__", "").rpartition(".")[0]


def _caller() -> tuple[str, int]:
    """The nearest frame outside this module, of torch and of functools."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (frame.f_code.co_filename in _OWN or "/torch/" in frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
