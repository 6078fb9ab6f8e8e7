"""The first line of an exception's text, and the user's line that raised it."""

import re
import signal
import traceback

from harness.base.printable import bounded
from harness.base.source import SourceLine, library_roots

_LONGEST = 4_000  # of a line that goes into a longer text
_USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in ')


def first_line(error: BaseException) -> str:
    """The first line of an exception's text that is not blank; the exception's type where there is none."""
    lines = (line.strip() for line in text_of(error).splitlines())
    return bounded(next(filter(None, lines), type(error).__name__), _LONGEST)


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


def is_ctrl_c(error: BaseException) -> bool:
    """Whether a KeyboardInterrupt may come from the keyboard. It cannot in a worker, which ignores that signal."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def user_line(error: BaseException) -> SourceLine | None:
    """The innermost user line of an exception: from its traceback, or from the stack that Dynamo writes into its text."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    frames += [(file, int(number)) for file, number in _USER_LINE.findall(text_of(error))]
    users = [frame for frame in frames if not frame[0].startswith(library_roots())]
    return SourceLine.at(*users[-1]) if users else None
