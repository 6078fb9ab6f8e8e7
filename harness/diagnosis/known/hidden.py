"""The model whose hidden size a log has as a size: in a call, in a shape or under a name that hidden sizes have."""

import re
from collections.abc import Iterator, Set
from functools import cache, lru_cache

from harness.diagnosis.owners import published
from harness.diagnosis.widths import read_pair

# Beside a number: that it is an argument or one of a shape, or that it is named as a hidden size. Looked at around each find alone.
_IN_BRACKETS, _ENDS = re.compile(rb"[(\[,] ?$"), re.compile(rb" ?[,)\]]")
_NAMED = re.compile(rb"(?:hidden\w{0,20}|d_model|model_dim|n_embd)['\"]?\]? ?[=:] ?$")
_NEAR, _MOST = 32, 40  # how far is looked, and at how many finds of a number


@cache
def _hidden() -> tuple[int, ...]:
    return tuple(sorted({shape.hidden for shape in published()}))


@lru_cache(maxsize=1)
def hidden_in(chunk: bytes) -> frozenset[int]:
    """The hidden sizes of models that a piece of a log has as sizes.

    A power of two counts under a hidden size's name alone: lengths and batches are such numbers too.
    """
    return frozenset(size for size in _hidden() if any(_is_size(chunk, place, size) for place in _places(chunk, size)))


def _places(chunk: bytes, size: int) -> Iterator[int]:
    place, number = -1, str(size).encode()
    for _ in range(_MOST):
        place = chunk.find(number, place + 1)
        if place < 0:
            return
        yield place


def _is_size(chunk: bytes, place: int, size: int) -> bool:
    """Whether a number stands where sizes do, and is no part of another word."""
    before, end = chunk[max(0, place - _NEAR) : place], place + len(str(size))
    if _NAMED.search(before):
        return not chunk[end : end + 1].isalnum()
    return bool(size & (size - 1) and _IN_BRACKETS.search(before) and _ENDS.match(chunk, end))


def model_of(sizes: Set[int]) -> str:
    """The first model of the one hidden size among numbers, those aside that others of them are padded to; empty for no one."""
    known = sizes & frozenset(_hidden())
    true = {size for size in known if not any(other < size and read_pair(other, size).padded for other in known)}
    return next((shape.name for shape in published() if shape.hidden in true), "") if len(true) == 1 else ""
