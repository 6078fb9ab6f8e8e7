"""What torch raises where an op's function returns other things than its schema says, in words."""

import re

_CAST = re.compile(r"Unable to cast .* to (\w+)", re.DOTALL)
_SEQUENCE = re.compile(r"Object of type '(\w+)' is not an instance of 'sequence'")
_NOTHING = re.compile(r"Expected PythonKernelHolder for \S+ to return None but it returned something else")


def wrong_return(error: BaseException) -> str:
    """``returns a Tensor, and its schema says several outputs``; empty where the error is about something else."""
    text = str(error)
    if type(error) is RuntimeError and (cast := _CAST.fullmatch(text)):
        return f"returns something else than the one {cast[1]} of its schema"
    if type(error) is TypeError and (sequence := _SEQUENCE.fullmatch(text)):
        return f"returns a {sequence[1].removeprefix('Fake')}, and its schema says several outputs"
    if type(error) is RuntimeError and _NOTHING.match(text):
        return "returns something, and its schema says nothing"
    return ""
