"""Make up an argument for a schema: sizes and dtypes that its name suggests, then others."""

import random
import re
from dataclasses import dataclass
from typing import Any

import torch

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
_OUTPUTS = (*_FLOATS, torch.int8, torch.uint8, torch.float8_e4m3fn, torch.int32)
_KINDS = (
    _Kind(
        r".*(ids|id|indices|index|idx|positions|slot_mapping|loc|locs|lens|len|lengths?|offs|offsets?|indptr|cu_seqlens.*|.*map|"
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
# A group has two ranks in every stand-in: its size is not a number that one may choose.
_INTS = (
    (r"(\w+_)?(world_size|num_ranks|tp_size|ep_size|cp_size)", 2), (r".*(top_?k|topk).*", 2),
    (r".*experts?.*", EXPERTS), (r".*(group|block).*", 128), (r".*heads?.*", HEADS),
    (r".*(head_dim|head_size|head_k_dim|head_v_dim).*", HEAD), (r".*(rank|offset|start).*", 0),
    (r".*(max|tokens|num|n_|size|len).*", TOKENS),
)  # fmt: skip


def _written(argument: Any) -> bool:
    return bool(argument.alias_info and argument.alias_info.is_write)


def value(argument: Any, known: list[str | int], draw: random.Random, number: int) -> Any:
    """A value for an argument of a schema. ``known`` are what its op compares it with; a larger ``number`` widens the choice."""
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
        return draw.choice(_FLOATS if number < 12 else _OUTPUTS) if number else torch.bfloat16
    if kind == "bool":
        return bool(number and draw.random() < 0.5)
    if kind == "float":
        return 1.0
    if kind == "str":
        texts = [value for value in known if isinstance(value, str)] or [""]
        return texts[0] if number == 0 else draw.choice(texts)
    if kind in ("int", "SymInt"):
        return _whole(name, known, draw, number)
    if kind == "List[bool]":
        return [True] * min(number, 3)
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
