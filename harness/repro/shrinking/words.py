"""What a shrunk case comes to in words: which fields matter, and which are free. Each says what was tried, and no more."""

from collections.abc import Mapping
from typing import Any

from harness.matrix.case import Case
from harness.repro.shrinking.shrink import Shrunk

_PARTS = {"shared": "a shared expert", "latent": "a latent projection"}
_OF_THE_LAYER = ("top_k", "intermediate", "tp", "scaling")
_FEW = 3  # a rule is seen in no fewer widths than these


def said(case: Case, shrunk: Shrunk) -> list[str]:
    """A phrase for each field: ``tokens=1, or any other``, ``needs a shared expert``; the rest of the free ones in one."""
    phrases = [_phrase(name, shrunk) for name in ("tokens", "experts")]
    phrases += [_width(name, case.alignment.hidden, shrunk) for name in ("hidden", "latent")]
    phrases += [_part(name, shrunk) for name in _PARTS]
    free = [name for name in _OF_THE_LAYER if all(shrunk.others.get(name, {None: False}).values())]
    phrases += [_phrase(name, shrunk) for name in _OF_THE_LAYER if name in shrunk.others and name not in free]
    return [phrase for phrase in (*phrases, f"free too: {', '.join(free)}" if free else "") if phrase]


def _phrase(name: str, shrunk: Shrunk) -> str:
    value, tried = shrunk.values[name], shrunk.others.get(name, {})
    if not tried:
        return f"{name}={value}"
    if all(tried.values()):
        return f"{name}={value}, or any other"
    if name == "tp" and value > 1 and tried.get(1) is False:
        return f"needs tensor parallelism (tp={value})"
    if not any(tried.values()):
        return f"{name} must be {value}" if len(tried) > 1 else f"{name}={value}; not {next(iter(tried))}"
    return f"{name}={value}; not {_those(tried)}"


def _part(name: str, shrunk: Shrunk) -> str:
    """Whether a part of the layer is needed, free, or must be absent; nothing where that was not tried."""
    value, tried = shrunk.values[name], shrunk.others.get(name, {})
    if value is not None:
        return f"needs {_PARTS[name]}" if tried.get(None) is False else ""
    if not tried:
        return ""
    return f"{'with or ' if all(tried.values()) else ''}without {_PARTS[name]}"


def _width(name: str, rule: int, shrunk: Shrunk) -> str:
    """A width by the rule that pads it."""
    value = shrunk.values[name]
    if value is None:
        return ""
    tried = {size: fails for size, fails in shrunk.others.get(name, {}).items() if size is not None}
    known = {value: True, **tried}
    aligned = {fails for size, fails in known.items() if size % rule == 0}
    unaligned = {fails for size, fails in known.items() if size % rule}
    if not tried or len(known) < _FEW:
        return f"{name}={value}"
    if aligned == {False} and unaligned == {True}:
        return f"{name}={value}: it must not be a multiple of {rule}"
    if aligned == {True} and unaligned == {False}:
        return f"{name}={value}: it must be a multiple of {rule}"
    if aligned | unaligned == {True}:
        return f"{name}={value}, or any other"
    return f"{name}={value}; not {_those(known)}"


def _those(tried: Mapping[Any, bool]) -> str:
    """The values that show nothing."""
    return " or ".join(str(value) for value, fails in tried.items() if not fails)
