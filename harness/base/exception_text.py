"""The first line of an exception's text, and the user's line that raised it."""

import re
import traceback

from harness.base.source import SourceLine, library_roots

_USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in ')


def first_line(error: BaseException) -> str:
    """The first line of an exception's text that is not blank; the exception's type where there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def user_line(error: BaseException) -> SourceLine | None:
    """The innermost user line of an exception: from its traceback, or from the stack that Dynamo writes into its text."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    frames += [(file, int(number)) for file, number in _USER_LINE.findall(str(error))]
    users = [frame for frame in frames if not frame[0].startswith(library_roots())]
    return SourceLine.at(*users[-1]) if users else None
