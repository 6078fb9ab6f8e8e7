"""What lines of a failure look like: the heading of a traceback, its frames, the exception's own line, what stands below it."""

import re
from functools import lru_cache

TRACEBACK = "Traceback (most"  # a terminal may break it after this
# An exception's own line: a dotted name that ends as names of exceptions do, then a colon or nothing.
EXCEPTION = re.compile(
    r"(?:\w+\.)*(?:[A-Z]\w*(?:Error|Exception|Failure|Interrupt|Exceeded|Hit|Reached|Mismatch)|Unsupported"
    r"|GuardOnDataDependentSymNode|Failed|\w*Exception)(?=: |:$|\s*$)"
)
_CHAINED = re.compile(r"The above exception was the direct cause|During handling of the above exception")
# What torch and CUDA print below an exception's line, at no indentation.
BELOW = re.compile(
    r"Error in op|This error most often|Use torch\.library|See https?:|Explanation|Hint:|Developer debug|from user code"
    r"|Set TORCH|For (?:more|debugging|extended|C\+\+)|You can suppress|Caused by|Suggested fixes|- |\* |User [Ss]tack"
    r"|consider using|CUDA kernel errors|HIP kernel errors|Compile with|Search for|Device-side|Declaration:|all __torch"
    r"|target:|args\["
    r"|The error above occurred|While executing|Original traceback|FX node|Found from|If you suspect|Detail|\^"
)
FRAME = re.compile(r'\s*(?:│\s*)?File "|\s*[\w/.<>~-]+\.py:\d+: (?!.*Assertion `)|\s*\^|\s*~')
# How pytest ends a frame.
PLACE = re.compile(r"[\w/.<>~-]+\.py:\d+: (?:in [\w.<>]+)?\s*$")
UNENDED = re.compile(r'File "[^"]*$')
TEST = re.compile(r"_{3,} .{1,200} _{3,}\s*$")  # pytest's, above each failing test
SUMMARY = re.compile(r"(?:FAILED|ERROR) \S+\.py::\S")  # pytest's, one line for each test, of this failure or of another
ENDED = re.compile(
    r"(?:=+ )?\d+ (?:failed|passed|skipped|errors?|warnings?)\b.{0,200} in \d[\d.]*s"
)  # pytest's last line
RANK = re.compile(r"\[Rank (\d+)\]")  # of whom torch's watchdog speaks
HEADING = re.compile(r"[_=]{5,}")
# Files of torch, of Python and of what runs a server or tests: no line of the user's.
LIBRARY = re.compile(
    r"(?:site|dist)-packages/(?:torch|triton|numpy|ray|uvloop|asyncio|pluggy|_pytest|starlette|fastapi|uvicorn|anyio|gradio|tornado|werkzeug)/|(?:site|dist)-packages/typing_extensions\.py|lib/python3\.\d+/(?!(?:site|dist)-)"
    r"|[Pp]ython\d*/[Ll]ib/(?!site-packages)"
    r"|torch/(?:_dynamo|_inductor|_functorch|_subclasses|_ops|fx|nn/modules/module|_library|_refs|_prims|utils)|\bpytorch/torch/|torchinductor_|<eval_with_key>|<frozen"
)
# A failing test in one line of pytest's: its place, and the exception.
_ONE_LINE = re.compile(r"[^\s\"',()]{1,300}\.py:\d+: (?=[\w.]+: \S)")
TALK = frozenset(("DEBUG", "INFO"))  # no line of these is a failure's
QUIET = TALK | {"WARN", "WARNING"}


@lru_cache(maxsize=4096)
def is_exception(text: str) -> bool:
    """Whether a line without indentation is an exception's own. Most lines of a log of failures were there before."""
    return bool(EXCEPTION.match(text))


def in_one_line(text: str) -> str:
    """The exception's own line in a line that begins with its place, as pytest's ``--tb=line`` writes; empty for none."""
    found = _ONE_LINE.match(text) if ".py:" in text else None
    return text[found.end() :] if found and is_exception(text[found.end() :]) else ""


def chains(text: str) -> bool:
    """Whether Python says here that one exception led to the next."""
    return "exception" in text and bool(_CHAINED.search(text))


def goes_on(text: str) -> bool:
    """Whether a line below an exception's own is still of it, or of the exception that it led to."""
    return (
        text[:1] in (" ", "\t")
        or bool(BELOW.match(text) or FRAME.match(text) or EXCEPTION.match(text))
        or TRACEBACK in text
        or chains(text)
    )
