"""A line that is a JSON object: what was printed in it, and an exception that it holds in parts."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from harness.diagnosis.log.forms import TRACEBACK

# Members that hold what was printed, and the one that holds the logger's level.
_PRINTED = "log msg message text textpayload error exception exc_info exc_text stack stacktrace stack_trace traceback body line"
_TEXTS = frozenset(f"{_PRINTED} output stderr stdout data detail details reason event".split())
_LEVELS = frozenset(("level", "levelname", "severity", "lvl", "loglevel", "log.level"))
# The parts of an exception, as structlog, Sentry, AWS Lambda and rich name them.
_NAME = ("exc_type", "type", "errorType", "class", "exception_class", "exc_name", "ename")
_VALUE = ("exc_value", "value", "errorMessage", "message", "exc_message", "evalue")
_FRAMES = ("frames", "stacktrace", "stackTrace", "stack_trace", "stack", "traceback")
_FILE = ("abs_path", "filename", "file", "path", "fileName")
_LINE = ("lineno", "line_no", "line_number", "lineNumber", "line")
_FUNCTION = ("function", "name", "func", "method", "functionName")
_CODE = ("context_line", "code", "source", "line")


@lru_cache(maxsize=2)  # a line is looked at for its text and for its level
def object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that a line is, or ends with; None where it is none."""
    start = text.find("{")
    if start < 0 or not text.rstrip().endswith("}") or text[start + 1 : start + 2] not in ('"', " "):
        return None
    try:
        found = json.loads(text[start:])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def level_of(text: str) -> str:
    """The logger's level in a line that is a JSON object, in capitals; empty where there is none."""
    found = object_in(text)
    for key, value in _members(found) if found else ():
        if key.lower() in _LEVELS and isinstance(value, str):
            return value.upper()
    return ""


def printed(found: dict[str, Any]) -> str:
    """What was printed: exceptions, members that are named so or have lines in them; of none the longest."""
    texts = [(key, value) for key, value in _members(found) if isinstance(value, str)]
    chosen = [value for key, value in texts if key.lower() in _TEXTS or "\n" in value.rstrip("\n")]
    chosen += _exceptions(found)
    if not chosen and texts:
        chosen = [max((value for _, value in texts), key=len)]
    return "\n".join(value.rstrip("\n") for value in chosen)


def _members(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The members of an object and of those in it, without those of an exception in parts."""
    if _parts(found):
        return
    for key, value in found.items():
        if isinstance(value, dict):
            yield from _members(value)
        else:
            yield key, value


def _exceptions(found: Any) -> list[str]:
    """The exceptions in parts in a value, as Python prints them."""
    if isinstance(found, list):
        return [text for value in found for text in _exceptions(value)]
    if not isinstance(found, dict):
        return []
    if parts := _parts(found):
        name, value, frames = parts
        lines = [line for frame in frames for line in _frame(frame)]
        return ["\n".join((f"{TRACEBACK} recent call last):", *lines, f"{name}: {value}"))]
    return [text for value in found.values() if isinstance(value, dict | list) for text in _exceptions(value)]


def _parts(found: dict[str, Any]) -> tuple[str, str, list[Any]] | None:
    """The name, the message and the frames of an exception in parts; None where the object is none."""
    name = _first(found, _NAME, str)
    if not name:
        return None
    value, frames = _first(found, _VALUE, str), _first(found, _FRAMES, (list, dict))
    if isinstance(frames, dict):
        frames = _first(frames, _FRAMES, list)
    if isinstance(value, str) and frames and any(_frame(frame) for frame in frames):
        return name, value, frames
    return None


def _frame(frame: Any) -> Sequence[str]:
    """The lines of one frame; none where it is no frame."""
    if isinstance(frame, str):
        return [line for line in frame.split("\n") if line.strip()] if "File " in frame else ()
    if not isinstance(frame, dict):
        return ()
    file, number = _first(frame, _FILE, str), _first(frame, _LINE, int)
    if not file or number is None:
        return ()
    code = _first(frame, _CODE, str)
    head = f'  File "{file}", line {number}, in {_first(frame, _FUNCTION, str) or "<unknown>"}'
    return [head, f"    {code.strip()}"] if code and code.strip() else [head]


def _first(found: dict[str, Any], names: Sequence[str], kind: type | tuple[type, ...]) -> Any:
    """The first member of these names that is of a kind; None where there is none."""
    for name in names:
        if name in found and isinstance(found[name], kind):
            return found[name]
    return None
