"""Look for arguments that a body takes: first what the names suggest, then what its refusals ask for."""

import random
import re
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch

from harness.audit.hints import values_of
from harness.audit.making.asked import Asked
from harness.audit.making.made_up import HIDDEN, TOKENS, Shape, filled, tensor, value
from harness.audit.making.repair import repaired


class Search:
    """Looks for arguments that a function takes. After a refusal, it draws again what the failing line names.

    ``given`` is what to try next, ``done`` says that there is no more. ``refused`` says what the function raised, ``took`` that
    it took them. What was drawn in vain is put back then, and the rest is varied together, as sizes that belong together are:
    a stub kernel refuses nothing, so a body may take sizes that no kernel would.
    """

    def __init__(self, schema: Any, function: Callable[..., Any], written: Callable[[str], bool]) -> None:
        self._needed = [one for one in schema.arguments if not one.has_default_value() or written(one.name)]
        self._known, self._written = values_of(function), written
        self._left = {one.name: one.default_value for one in schema.arguments if type(one.default_value) is int}
        self._draw = random.Random(0)
        self.given = {one.name: self._value(one, 0) for one in self._needed}
        self._best: tuple[tuple[int, ...], dict[str, Any]] = ((), self.given)
        self._first = self.given
        self._steps: Generator[dict[str, Any], bool, None] | None = None
        self._keeps = self.done = False
        self._tried = 0
        self._seen: set[str] = set()

    def _value(self, argument: Any, number: int) -> Any:
        optional = str(argument.type) == "Optional[Tensor]"
        if optional and self._written(argument.name):  # what the op may write is given, so that its writes are seen
            return tensor(argument.name, self._draw, number)
        return value(argument, self._known.get(argument.name, []), self._draw, number)

    def refused(self, error: BaseException, asked: Asked) -> None:
        """Turn round what was asked last. If that was tried, go on from the arguments that came furthest, with another value."""
        if self._steps is not None:
            self._advance(took=False)
            return
        self._tried += 1
        reached, line = _where(error)
        if reached >= self._best[0]:
            self._best = (reached, self.given)
        for given in repaired(error, asked, self.given, self._made):
            if self._new(given):
                self.given = given
                return
        for name in (name for name in self._left if name not in self.given and re.search(rf"\b{name}\b", line)):
            self.given = self.given | {
                name: self._left[name]
            }  # once more, with a number that tells what is asked of it
            return
        named = [one for one in self._needed if re.search(rf"\b{re.escape(one.name)}\b", line)]
        chosen = self._draw.sample(named or self._needed, 1) if self._needed else []
        if self._draw.random() < 0.15 and self._needed:
            chosen = [*chosen, self._draw.choice(self._needed)]
        self.given = self._best[1] | {one.name: self._value(one, 20 + self._tried) for one in chosen}

    def _made(self, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
        return filled(shape, dtype, self._draw.randrange(2**31))

    def _new(self, given: dict[str, Any]) -> bool:
        key = str({name: _described(value) for name, value in given.items()})
        known = key in self._seen
        self._seen.add(key)
        return not known

    def took(self) -> bool:
        """Go on after arguments that were taken; returns whether they are a sample."""
        keep = self._keeps
        if self._steps is None:
            self._steps = self._after(self.given)
            self.given = next(self._steps)
        else:
            self._advance(took=True)
        return keep

    def _advance(self, took: bool) -> None:
        assert self._steps is not None
        try:
            self.given = self._steps.send(took)
        except StopIteration:
            self.done = True

    def _after(self, taken: dict[str, Any]) -> Generator[dict[str, Any], bool, None]:
        """Put back the first value of each argument that can do with it; then the result, and variations of it."""
        for name, first in self._first.items():
            if _described(taken[name]) != _described(first):
                candidate = taken | {name: first}
                if (yield candidate):
                    taken = candidate
        self._keeps = True
        yield taken
        yield from _variations(taken)


def _variations(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Other numbers of tokens, each flag the other way round, other dtypes for an argument that is one, wider tensors."""
    yield _resized(given, TOKENS, TOKENS - 2)
    for name, old in given.items():
        if isinstance(old, bool):
            yield given | {name: not old}
        if isinstance(old, torch.dtype) and old.is_floating_point:
            yield given | {name: torch.float16 if old != torch.float16 else torch.bfloat16}
    yield _resized(given, HIDDEN, 2 * HIDDEN)


def _resized(given: dict[str, Any], old: int, new: int) -> dict[str, Any]:
    """Every size and number that has one value with another."""

    def other(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and old in value.shape:
            return filled(tuple(new if size == old else size for size in value.shape), value.dtype, new)
        return new if type(value) is int and value == old else value

    return {name: other(value) for name, value in given.items()}


def _where(error: BaseException) -> tuple[tuple[int, ...], str]:
    """How far a function came, the line of each frame, and the text of the failing line of its own frame and the next."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    own = [frame for frame in frames if "harness" not in frame.filename]
    return tuple(frame.lineno or 0 for frame in own[:2]), " ".join(frame.line or "" for frame in own)


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    return [_described(one) for one in value] if isinstance(value, list) else value
