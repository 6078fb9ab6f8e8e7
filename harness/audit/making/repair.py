"""From a refusal and what was asked before it to arguments that may not be refused: the question's answer is turned round."""

import ast
import linecache
import re
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from harness.audit.making.sizes import COMPARED, Asked, Leaf, Question, leaves_of, value_of

Arguments = dict[str, Any]
_EMPTY = 1 << 20  # an empty tensor satisfies much and shows little: it comes last
_MOST_ELEMENTS, _MOST_TEXT = 1 << 23, 2_000
_VALUES = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 48, 64, 96, 128, 192, 256, 512, 576, 1024, 2048, 4096, 0)
_RANKS = range(9)
_PAST = re.compile(r"index (\d+) is out of bounds for dimension (\d+)")
_PRODUCT = re.compile(r"shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)")
_RESIZED = re.compile(r"it had shape \[([\d, ]+)\], which does not match the required output shape \[([\d, ]+)\]")
_USUAL = (
    torch.bfloat16, torch.float32, torch.int32, torch.uint8, torch.float8_e4m3fn, torch.int64, torch.int8, torch.float16,
    torch.bool, torch.int16, torch.float64, torch.float8_e5m2,
)  # fmt: skip


def repaired(error: BaseException, asked: Asked, given: Arguments, remake: Any) -> Iterator[Arguments]:
    """Arguments to try next, the most promising first. ``remake(shape, dtype)`` makes a tensor."""
    yield from _other_words(error, given)
    yield from _as_said(error, given, remake)
    rank = _wanted_rank(error)
    reads = [one for one in asked.questions if one.kind == "sizes"]
    if rank is not None and reads:
        name = reads[-1].argument
        yield from _with(given, ("rank", name, 0), rank if rank > 0 else given[name].dim() - rank, remake)
    yield from _longer(error, reads, given, remake)
    yield from _multiplied(error, given, remake)
    for question in list(reversed(_asked_before(error, asked)))[:3]:
        if question.kind == "dtype":
            yield from _other_dtypes(question, given, remake)
        if question.kind == "compared":
            yield from _turned(question, asked, given, remake)


def _wanted_rank(error: BaseException) -> int | None:
    """The rank that an unpacking asks for; negative: so many dimensions more."""
    text = str(error)
    pattern = re.search(r'pattern "([^"]*?) *->', text)  # of einops
    if pattern:
        return len(re.sub(r"\([^)]*\)", "x", pattern[1]).split())
    unpacked = re.search(r"values to unpack \(expected (\d+)", text)
    if isinstance(error, ValueError) and unpacked and "got 0" not in text:
        return int(unpacked[1])
    if isinstance(error, TypeError) and "iteration over a 0-d tensor" in text:
        return -1
    if isinstance(error, RuntimeError) and re.search(r"(self|mat1|mat2) must be a matrix", text):
        return -1
    few = "tuple index" in text or ("imension" in text and not _PAST.search(text))
    return -1 if isinstance(error, IndexError) and few else None


def _longer(error: BaseException, reads: list[Question], given: Arguments, remake: Any) -> Iterator[Arguments]:
    """The argument that was indexed last with a dimension that reaches the index: as long as one of another argument."""
    past = _PAST.search(str(error)) if isinstance(error, IndexError) else None
    sizes = sorted({size for one in given.values() if isinstance(one, Tensor) for size in one.shape})
    for size in (size for size in sizes if past and size > int(past[1])):
        assert past
        yield from _with(given, ("size", reads[-1].argument, int(past[2])), size, remake) if reads else ()


def _multiplied(error: BaseException, given: Arguments, remake: Any) -> Iterator[Arguments]:
    """A matrix whose rows do not fit a product or its output, or the rows that it is multiplied with, with the other's size."""
    text = str(error)[:_MOST_TEXT]
    if resized := _RESIZED.search(text):
        have, want = ([int(size) for size in group.split(", ")] for group in resized.groups())
        for name, one in given.items():
            if isinstance(one, Tensor) and one.dim() > 1 and one.shape[-1] == have[-1] != want[-1]:
                yield from _with(given, ("size", name, one.dim() - 1), want[-1], remake)
    found = _PRODUCT.search(text)
    for old, new, place in ((int(found[2]), int(found[1]), -2), (int(found[1]), int(found[2]), -1)) if found else ():
        for name, one in given.items():
            if isinstance(one, Tensor) and one.dim() > 1 and one.shape[place] == old:
                yield from _with(given, ("size", name, place % one.dim()), new, remake)


def _asked_before(error: BaseException, asked: Asked) -> list[Question]:
    """The questions before the refusal, without those that only its message asks."""
    frames = traceback.extract_tb(error.__traceback__)
    raised = {(one.filename, line) for one in frames[-1:] for line in _message_lines(one.filename, one.lineno or 0)}
    kept = [one for one in asked.questions if one.kind != "sizes" and one.place not in raised]
    return kept or [one for one in asked.questions if one.kind != "sizes"]


def _message_lines(file: str, line: int) -> range:
    """The lines of the ``raise`` on this line; empty for any other statement."""
    return next((range(one.lineno, (one.end_lineno or one.lineno) + 1) for one in _statements(file)
                 if isinstance(one, ast.Raise) and one.lineno <= line <= (one.end_lineno or one.lineno)), range(0))  # fmt: skip


@lru_cache(maxsize=64)
def _statements(file: str) -> tuple[ast.stmt, ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.stmt))


def _other_dtypes(question: Question, given: Arguments, remake: Any) -> Iterator[Arguments]:
    """The argument with another dtype: one that the asking statement names, then that of another argument, then a usual one."""
    name, text = question.argument, _statement(*question.place)
    others = [one.dtype for other, one in given.items() if isinstance(one, Tensor) and other != name]
    for dtype in dict.fromkeys((*_dtypes(text, question.names), *others, *_USUAL)):
        if dtype != given[name].dtype:
            yield given | {name: remake(tuple(given[name].shape), dtype)}


def _statement(file: str, line: int) -> str:
    """The first line of the smallest statement that has this line: of an ``if``, the test."""
    around = [one for one in _statements(file) if one.lineno <= line <= (one.end_lineno or one.lineno)]
    smallest = min(around, key=lambda one: (one.end_lineno or one.lineno) - one.lineno, default=None)
    return ast.unparse(smallest).partition("\n")[0] if smallest else linecache.getline(file, line)


def _dtypes(text: str, names: Mapping[str, Any]) -> list[torch.dtype]:
    """The dtypes that a statement names, ``torch.int8`` or a global of its module."""
    words = re.findall(r"torch\.(\w+)|(\w+)", text)
    values = [getattr(torch, own, None) if own else names.get(word) for own, word in words]
    many = [
        one
        for value in values
        for one in (value if isinstance(value, (tuple, list, set, frozenset, dict)) else (value,))
    ]
    return [one for one in many if one in _USUAL]


def _other_words(error: BaseException, given: Arguments) -> Iterator[Arguments]:
    """Another dtype, or another string, for an argument that is one and that the refusing line names."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = [one.lineno or 0 for one in traceback.extract_tb(error.__traceback__)]
    for frame, line in list(zip(frames, lines, strict=True))[-2:]:
        text = _statement(frame.f_code.co_filename, line)
        for name, value in given.items():
            if isinstance(value, torch.dtype) and re.search(rf"\b{name}\b", text):
                yield from (given | {name: one} for one in _dtypes(text, frame.f_globals) if one != value)
    for name in (name for name, value in given.items() if isinstance(value, str)):
        yield from (given | {name: word} for word in re.findall(r"supported[\w ]*: *['\"]?(\w+)", str(error)))


def _as_said(error: BaseException, given: Arguments, remake: Any) -> Iterator[Arguments]:
    """What the message asks of the tensors that it names: a dtype of those that it lists, or a number of dimensions."""
    text = str(error)[:_MOST_TEXT]
    ranks = [int(rank) for rank in re.findall(r"\b(\d)[ -]?(?:D\b|dim)", text)]
    tensors = {name: one for name, one in given.items() if isinstance(one, Tensor) and re.search(rf"\b{name}\b", text)}
    for name, one in tensors.items():
        for dtype in _dtypes(text, {}):
            if dtype != one.dtype:
                yield given | {name: remake(tuple(one.shape), dtype)}
        for rank in ranks:
            if rank != one.dim():
                yield from _with(given, ("rank", name, 0), rank, remake)


def _turned(question: Question, asked: Asked, given: Arguments, remake: Any) -> Iterator[Arguments]:
    """The arguments with one number changed so that the question has the other answer, and the earlier ones theirs."""
    now = _leaves(given)
    path = [one for one in asked.questions if one.kind == "compared" and one is not question]
    found: list[tuple[int, int, Leaf, int]] = []
    for leaf in dict.fromkeys(leaf for term in question.terms for leaf in leaves_of(term)):
        for value in _candidates(leaf, question, now):
            changed = now | {leaf: value}
            if _answer(question, changed) == (not question.outcome):
                broken = sum(_answer(one, changed) != one.outcome for one in path)
                far = abs(value - now.get(leaf, 0)) + _EMPTY * (value == 0)
                found.append((broken, far, leaf, value))
    for _, _, leaf, value in sorted(found, key=lambda one: one[:2])[:6]:
        yield from _with(given, leaf, value, remake)


def _candidates(leaf: Leaf, question: Question, now: dict[Leaf, int]) -> list[int]:
    if leaf[0] == "rank":
        return list(_RANKS)
    sides = [side for term in question.terms if (side := _value(term, now)) is not None]
    near = [value + step for value in sides for step in (0, 1, -1)]
    multiples = [value * factor for value in sides for factor in (2, 4, 8)]
    return [value for value in dict.fromkeys((*near, *_VALUES, *multiples)) if value >= 0]


def _value(term: Any, leaves: dict[Leaf, int]) -> int | None:
    try:
        return value_of(term, leaves)
    except (KeyError, ZeroDivisionError):
        return None


def _answer(question: Question, leaves: dict[Leaf, int]) -> bool | None:
    ours, theirs = (_value(term, leaves) for term in question.terms)
    return None if ours is None or theirs is None else COMPARED[question.compared](ours, theirs)


def _leaves(given: Arguments) -> dict[Leaf, int]:
    leaves: dict[Leaf, int] = {}
    for name, value in given.items():
        if isinstance(value, Tensor):
            leaves[("rank", name, 0)] = value.dim()
            leaves |= {("size", name, place): size for place, size in enumerate(value.shape)}
        elif isinstance(value, int):
            leaves[("number", name, 0)] = value
    return leaves


def _with(given: Arguments, leaf: Leaf, value: int, remake: Any) -> Iterator[Arguments]:
    """The arguments with another value of a leaf, unless a tensor gets too large."""
    kind, name, place = leaf
    old = given.get(name)
    if kind == "number":
        yield given | {name: value}
        return
    assert isinstance(old, Tensor)
    shape = list(old.shape)
    if kind == "rank":
        shape = shape[len(shape) - value :] if value <= len(shape) else [2] * (value - len(shape)) + shape
    elif place < len(shape):
        shape[place] = value
    if torch.Size(shape).numel() <= _MOST_ELEMENTS:
        yield given | {name: remake(tuple(shape), old.dtype)}
