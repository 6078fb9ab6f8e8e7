"""One line of a log without what loggers put before it: colours, times, processes, levels."""

import re
from typing import NamedTuple

_COLOUR = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|\^\[\[[0-9;]*m|\\u001b\[[0-9;]*m"
)
_TIME = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z| ?[+-]\d\d:?\d\d)?"
_LEVEL = r"(?:DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL|TRACE)"
_PLACE = r"\[?[\w./<>-]+\.py:\d+\]"
# Each is one thing that is put before a line; a line may have several, in any order.
_PREFIX = re.compile(
    r"(?:"
    r"(?P<process>\((?:[\w./:+ -]*\b(?:pid|rank|ip|actor)=[^()\n]{0,80}|(?:Engine|Worker|APIServer)\w*)\))"  # vLLM, Ray
    r"|(?P<rank>\[(?:rank|Rank |default|local_rank)\d+\]:)"  # torchrun
    r"|\[\d+,\d+\]<std(?:err|out)>:"  # mpirun
    rf"|{_LEVEL} \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? {_PLACE}"  # vLLM
    rf"|{_LEVEL} {_PLACE}"
    r"|[EWICVF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w/.<>-]+:\d+\](?: \[(?:\d+/\d+|__\w+)[\w/]*\])?"  # torch
    rf"|\[{_TIME}(?P<part>(?: [A-Z]{{2}}\d+)*)[\]]"  # SGLang
    rf"|(?:stdout|stderr) [FP] "  # Kubernetes
    rf"|\[?{_TIME}\]?(?: [A-Z]{{3,4}}\b)?"
    rf"(?:[ ,:]*[-|][ ]*{_LEVEL}[ ]*[-|][^-|\n]{{0,80}}[-|]|[ ]*-[ ]*[\w.]+[ ]*-[ ]*{_LEVEL}[ ]*-)?"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d(?: [\w.-]+ [\w./-]+(?:\[\d+\])?:)?"  # syslog
    r"|\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]?"
    r"|##\[(?:error|warning|group|debug)\]|::(?:error|warning)[^:\n]*::"  # GitHub, Azure
    r"|(?P<task>\d{1,3}):(?= )"  # srun -l
    rf"|\[?{_LEVEL}\]?(?::[\w.]*:|:| -| \||(?=\s+\S+ -))"
    r"|>(?= |$)|│|┃|\|(?= )"  # a quotation, a table
    r") ?"
)
_SERVICE = re.compile(r"(?P<service>[A-Za-z][\w.-]*[\d_-]\w*) +\|(?= |$) ?")  # docker compose
_PYTEST = re.compile(r"E {3,}(?=\S)|E +(?=\w+(?:\.\w+)*(?:Error|Exception))|E(?=\s*$)")
_LONGEST_PREFIX = 300
_LEVELS = re.compile(_LEVEL)
_BORDER = re.compile(r"\s*[│┃]\s*$| {20,}\|?\s*$")


class Line(NamedTuple):
    """A line of a log: its number from 1, who wrote it (a process, a rank; may be empty), the logger's level, the text.

    ``width`` is how many characters it had with its prefixes, and ``bare`` says that it had none.
    """

    number: int
    writer: str
    level: str
    text: str
    width: int = 0
    bare: bool = True


def read_line(number: int, raw: str) -> Line:
    """The line without its prefixes. The text's own indentation stays."""
    if "\x1b" in raw or "^[[" in raw or "\\u001b" in raw:
        raw = _COLOUR.sub("", raw)
    raw = raw.rstrip("\r\n").rpartition("\r")[2].lstrip("\ufeff")  # a progress bar writes over itself
    writer, place = "", 0
    if "|" in raw and (service := _SERVICE.match(raw)):
        writer, place = service["service"], service.end()
    while place < _LONGEST_PREFIX and raw[place : place + 1] != " ":
        found = _PREFIX.match(raw, place)
        if not found:
            break
        writer = writer or (found[found.lastgroup].strip() if found.lastgroup else "")
        place = found.end()
    level = _LEVELS.search(raw, 0, place) if place else None
    text = raw[place:]
    if text.startswith("E"):
        text = _PYTEST.sub("", text, count=1)
    text = _BORDER.sub("", text) if text.endswith(("│", "┃", " ")) else text
    return Line(number, writer, level[0] if level else "", text, len(raw), not place)
