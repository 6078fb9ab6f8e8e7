"""Make up arguments for a schema: sizes and dtypes that an argument's name suggests, then others, until the op takes some."""

import random
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from harness.audit.hints import values_of
from harness.engines.declared.samples.asked import Asked
from harness.engines.declared.samples.repair import repaired

# Sizes with a meaning each: tokens, hidden size, output size, heads, head size, experts.
TOKENS, HIDDEN, OUT, HEADS, HEAD, EXPERTS = 7, 256, 384, 4, 64, 3
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the name of a tensor suggests: shapes in the order in which they are tried, and dtypes."""

    names: str
    shapes: tuple[Shape, ...]
    dtypes: tuple[torch.dtype, ...]


_FLOATS = (torch.bfloat16, torch.float32)
_KINDS = (
    _Kind(
        r".*(ids|id|indices|index|idx|positions|slot_mapping|loc|locs|lens|len|lengths?|offsets?|indptr|cu_seqlens.*|.*map|"
        r".*table|.*tables|counts?|num_.*|.*_start.*|mask|.*slots?|seqlens?)",
        ((TOKENS,), (TOKENS, 2), (TOKENS + 1,), (EXPERTS,), (1,)),
        (torch.int32, torch.int64),
    ),
    _Kind(
        r".*(scale|scales|scale_inv|sf|alpha|zeros?|zp|_s|As|Bs)\d?",
        ((1,), (TOKENS, 1), (TOKENS, 2), (OUT, 2), (EXPERTS,), ()),
        (torch.float32, torch.bfloat16, torch.uint8),
    ),
    _Kind(r".*(norm_weight|gamma|beta|_norm|norm_w|ln_.*)", ((HIDDEN,), (HEAD,)), _FLOATS),
    _Kind(r".*bias", ((OUT,), (HIDDEN,), (EXPERTS, OUT)), _FLOATS),
    _Kind(
        r".*(weight|weights|w|w\d+|b_q|b|mat2|wq|wk)",
        ((OUT, HIDDEN), (HIDDEN,), (HIDDEN, OUT), (EXPERTS, OUT, HIDDEN), (TOKENS, 2)),
        _FLOATS,
    ),
    _Kind(r"(boxes|rois|dets)", ((TOKENS, 4), (TOKENS, 5)), (torch.float32,)),
)
_ANY = _Kind(
    ".*",
    ((TOKENS, HIDDEN), (TOKENS, HEADS, HEAD), (2, TOKENS, HIDDEN), (2, TOKENS, HEADS, HEAD), (HIDDEN,), (TOKENS,)),
    (*_FLOATS, torch.float8_e4m3fn, torch.uint8, torch.int32),
)
_INTS = ((r".*(top_?k|topk).*", 2), (r".*experts?.*", EXPERTS), (r".*(group|block).*", 128), (r".*heads?.*", HEADS),
         (r".*(head_dim|head_size|head_k_dim|head_v_dim).*", HEAD), (r".*(rank|offset|start).*", 0),
         (r".*(max|tokens|num|n_|size|len).*", TOKENS))  # fmt: skip


def arguments(schema: Any, function: Callable[..., Any] | None, tries: int) -> Iterator[dict[str, Any]]:
    """At most ``tries`` sets of arguments by name: first what the names suggest, then draws from wider and wider choices.

    An argument with a default is left out, but for a tensor that the op writes. Every call gives the same ones.
    """
    needed = [one for one in schema.arguments if not one.has_default_value() or _written(one)]
    known = values_of(function) if function is not None else {}
    seen: set[str] = set()
    for number in range(tries):
        draw = random.Random(number)
        chosen = {one.name: _value(one, known.get(one.name, []), draw, number) for one in needed}
        key = str({name: _described(value) for name, value in chosen.items()})
        if key not in seen:
            seen.add(key)
            yield chosen


class Search:
    """Looks for arguments that a function takes. After a refusal, it draws again what the failing line names.

    ``given`` is what to try next. ``refused`` says what the function raised, ``took`` that it took them.
    """

    def __init__(self, schema: Any, function: Callable[..., Any], written: Callable[[str], bool]) -> None:
        self._needed = [one for one in schema.arguments if not one.has_default_value() or written(one.name)]
        self._known, self._written = values_of(function), written
        self._draw = random.Random(0)
        self.given = {one.name: self._value(one, 0) for one in self._needed}
        self._best: tuple[tuple[int, ...], dict[str, Any]] = ((), self.given)
        self._tried = 0
        self._seen: set[str] = set()

    def _value(self, argument: Any, number: int) -> Any:
        optional = str(argument.type) == "Optional[Tensor]"
        if optional and self._written(argument.name):  # what the op may write is given, so that its writes are seen
            return tensor(argument.name, self._draw, number)
        return _value(argument, self._known.get(argument.name, []), self._draw, number)

    def refused(self, error: BaseException, asked: Asked) -> None:
        """Turn round what was asked last. If that was tried, go on from the arguments that came furthest, with another value."""
        self._tried += 1
        reached, line = _where(error)
        if reached >= self._best[0]:
            self._best = (reached, self.given)
        for given in repaired(error, asked, self.given, self._made):
            if self._new(given):
                self.given = given
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

    def took(self) -> None:
        """Go on from these with another value for one of them."""
        self._best = ((), self.given)
        if self._needed:
            one = self._draw.choice(self._needed)
            self.given = self.given | {one.name: self._value(one, 30)}


def _where(error: BaseException) -> tuple[tuple[int, ...], str]:
    """How far a function came, the line of each frame, and the text of the failing line of its own frame and the next."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    own = [frame for frame in frames if "harness" not in frame.filename]
    return tuple(frame.lineno or 0 for frame in own[:2]), " ".join(frame.line or "" for frame in own)


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    return [_described(one) for one in value] if isinstance(value, list) else value


def _written(argument: Any) -> bool:
    return bool(argument.alias_info and argument.alias_info.is_write)


def _value(argument: Any, known: list[str | int], draw: random.Random, number: int) -> Any:
    kind = str(getattr(argument, "real_type", argument.type))
    if kind == "Optional[Tensor]" and (_written(argument) or draw.random() < min(number, 10) / 20):
        kind = "Tensor"
    if kind == "Tensor":
        return tensor(argument.name, draw, number)
    if kind == "List[Tensor]":
        return [tensor(argument.name, draw, number), tensor(argument.name, draw, number)]
    if kind.startswith("Optional"):
        return None
    return _number(argument.name, kind, known, draw, number)


def _number(name: str, kind: str, known: list[str | int], draw: random.Random, number: int) -> Any:
    if kind == "ScalarType":
        return draw.choice((torch.bfloat16, torch.float32)) if number else torch.bfloat16
    if kind == "bool":
        return bool(number and draw.random() < 0.5)
    if kind == "float":
        return 1.0
    if kind == "str":
        texts = [value for value in known if isinstance(value, str)] or [""]
        return texts[0] if number == 0 else draw.choice(texts)
    if kind in ("int", "SymInt"):
        return _whole(name, known, draw, number)
    if kind.startswith("List"):
        return [1, 1] if "int" in kind.lower() else []
    return torch.device("cpu") if kind == "Device" else 1


def _whole(name: str, known: list[str | int], draw: random.Random, number: int) -> int:
    suggested = next((value for words, value in _INTS if re.fullmatch(words, name.lower())), 1)
    wider = [suggested, 1, 0, HIDDEN, HEAD, 16, 32, 128, *(value for value in known if isinstance(value, int))]
    return suggested if number < 12 else draw.choice(wider)


def tensor(name: str, draw: random.Random, number: int) -> torch.Tensor:
    """A tensor that fits its name: the first shape and dtype at first, then others, and later those of any name."""
    short = name.lower().removesuffix("_ptr")
    kind = next((one for one in _KINDS if re.fullmatch(one.names, short)), _ANY)
    if number >= 60 and draw.random() < 0.3:
        kind = draw.choice((*_KINDS, _ANY))
    if number >= 40 and draw.random() < 0.3:
        return filled(draw.choice(kind.shapes), draw.choice(_ANY.dtypes), draw.randrange(2**31))
    shape = kind.shapes[0] if number == 0 else draw.choice(kind.shapes[: 1 + number // 3])
    dtype = kind.dtypes[0] if number < 6 else draw.choice(kind.dtypes)
    return filled(shape, dtype, draw.randrange(2**31))


def filled(shape: Shape, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Random numbers; for whole numbers 0 or 1, which index into whatever there is."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator, dtype=dtype)
