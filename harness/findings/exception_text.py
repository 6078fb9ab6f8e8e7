"""What an exception says: the first line of its text, and the user's line that raised it."""

import re
import traceback

from harness.base.source import SourceLine, library_roots

_USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in ')


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def user_line(error: BaseException) -> SourceLine | None:
    """The user's innermost line in an exception: from its own traceback, or from the text that Dynamo wrote."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    frames += [(file, int(number)) for file, number in _USER_LINE.findall(str(error))]
    users = [place for place in frames if not place[0].startswith(library_roots())]
    return SourceLine.at(*users[-1]) if users else None
