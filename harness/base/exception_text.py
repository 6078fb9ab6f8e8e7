"""The first line of an exception's text, and the user's line that raised it."""

import re
import signal
import traceback
import types

from harness.base.printable import bounded
from harness.base.source import SourceLine, is_library

_LONGEST = 4_000  # of a line that goes into a longer text
_WRAPPER = re.compile(r"(raised|following error|exception|failed)\s*:$", re.IGNORECASE)
# Dynamo quotes every argument of the call that failed in a trace, and only then the error.
_ON_FAKES = "Dynamo failed to run FX node with fake tensors: "
_TRACED = re.compile(rf"^(?:Explanation: )?{_ON_FAKES}.*\bgot (\w+\(.*\))")
_HEADING = re.compile(r"when making fake tensor call$")
_COMPREHENSIONS = frozenset(("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"))
_REFUSES = re.compile(r"\b(raise|assert)\b")
_COMPILER = re.compile(r"[/\\]torch[/\\](_dynamo|_inductor|_functorch|_higher_order_ops)[/\\]")
_USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in ')


def first_line(error: BaseException) -> str:
    """The first line of an exception's text that says something; the exception's type where there is none.

    torch wraps exceptions: a line such as ``backend='inductor' raised:`` is followed by the text that matters, and so is the
    heading that Dynamo gives an error in a trace.
    """
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    if len(lines) > 1 and _WRAPPER.search(lines[0]):
        return bounded(lines[1], _LONGEST)
    text = lines[1] if len(lines) > 1 and _HEADING.search(lines[0]) else "".join(lines[:1])
    if inner := _TRACED.search(text):
        return bounded(inner[1].strip(), _LONGEST)
    return bounded(lines[0] if lines else type(error).__name__, _LONGEST)


def text_of(error: BaseException) -> str:
    """The exception's text. A user's exception may fail to make one; then what it raised instead."""
    try:
        return str(error)
    except Exception as failure:
        return f"{type(error).__name__}, whose __str__ raises {type(failure).__name__}"


def raised_text(error: BaseException) -> str:
    """Type and first line of an exception, with the user's line that raised it where there is one."""
    line = user_line(error)
    where = f" ({line}: {line.text})" if line else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def refusal_text(error: BaseException) -> str:
    """Type and text of what an op or its fake raised, with a second line where the first announces it.

    A text that says nothing, such as that of a bare ``assert`` or the key of a KeyError, has its place behind it.
    """
    text, lines = first_line(error), [line.strip() for line in text_of(error).splitlines() if line.strip()]
    if len(text.split()) < 2:
        return raised_text(error)
    announced = bounded(lines[1], _LONGEST) if text.endswith(":") and len(lines) > 1 and lines[0] == text else ""
    return f"{type(error).__name__}: {text} {announced}".rstrip()


def with_cause(error: BaseException) -> str:
    """``raised_text``, and the exception that this one was raised from, which may hold the reason."""
    cause = error.__cause__
    return raised_text(error) + (f"; raised from {type(cause).__name__}: {first_line(cause)}" if cause else "")


def is_ctrl_c(error: BaseException) -> bool:
    """Whether a KeyboardInterrupt may come from the keyboard. It cannot in a worker, which ignores that signal."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def user_line(error: BaseException) -> SourceLine | None:
    """The innermost user line of an exception: from its traceback, or from the stack that Dynamo writes into its text."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    frames += [(file, int(number)) for file, number in _USER_LINE.findall(text_of(error))]
    users = [frame for frame in frames if not is_library(frame[0])]
    return SourceLine.at(*users[-1]) if users else None


def is_own_refusal(error: BaseException) -> bool:
    """Whether user code refused on purpose: by ``raise``, ``assert`` or ``torch._check``, not in an operation that failed."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    return raised_by_user(error) and (_is_check(frames[-1]) or _REFUSES.search(frames[-1].line or "") is not None)


def user_caller(error: BaseException, line: SourceLine | None) -> SourceLine | None:
    """The user's line that called the function of ``line``, by the exception's traceback; None where it does not say.

    A comprehension's frame was called by the statement that it is in, whose own line says nothing more.
    """
    steps = [(frame.f_code, number) for frame, number in traceback.walk_tb(error.__traceback__)]
    users = [(code, number) for code, number in steps if not is_library(code.co_filename)]
    if not users or SourceLine.at(users[-1][0].co_filename, users[-1][1]) != line:
        return None
    while len(users) > 1 and _is_inside(users[-1][0], users[-2][0]):
        users.pop()
    return SourceLine.at(users[-2][0].co_filename, users[-2][1]) if len(users) > 1 else None


def _is_inside(code: types.CodeType, outer: types.CodeType) -> bool:
    """Whether it is the code of a comprehension in the other code."""
    return code.co_name in _COMPREHENSIONS and code in outer.co_consts


def raised_by_compiler(error: BaseException) -> bool:
    """Whether a statement of torch's compiler raised the exception: a limit or a fault of its own, whatever the layer does."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _COMPILER.search(frames[-1].filename) is not None


def raised_on_fakes(error: BaseException) -> bool:
    """Whether Dynamo reports what a call raised on fake tensors: an op's fake implementation, or torch's own check of shapes."""
    return _ON_FAKES in text_of(error)


def raised_by_user(error: BaseException) -> bool:
    """Whether a statement of the user's own raised the exception, a ``torch._check`` too, rather than code that it called."""
    frames = traceback.extract_tb(error.__traceback__)
    while frames and _is_check(frames[-1]):
        frames.pop()
    return bool(frames) and not is_library(frames[-1].filename)


def _is_check(frame: traceback.FrameSummary) -> bool:
    """Whether it is a frame of ``torch._check`` or of one of its kin, which raise for their caller."""
    return frame.name.startswith("_check") and is_library(frame.filename)
