"""What is put before a line: prefixes that are known, and prefixes that are seen because lines of a traceback share them."""

import re
from collections.abc import Callable, Sequence

_TIME = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z| ?[+-]\d\d:?\d\d)?"
_LEVEL = r"(?:DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL|TRACE)"
_PLACE = r"\[?[\w./<>-]+\.py:\d+\]"
# What torch puts before its own lines.
TORCH = r"[EWICVF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w/.<>-]+:\d+\](?: \[(?:\d+/\d+|__\w+)[\w/]*\])?"
# Each is one thing that is put before a line; a line may have several, in any order.
_KNOWN = re.compile(
    r"(?:"
    r"(?P<process>\((?:[\w./:+ -]*\b(?:pid|rank|ip|actor)=[^()\n]{0,80}|(?:Engine|Worker|APIServer)\w*)\))"  # vLLM, Ray
    r"|(?P<pod>\[pod/[\w.-]{1,250}(?:/[\w.-]{1,63})?\])"  # kubectl logs --prefix
    r"|(?P<rank>\[(?:rank|Rank |default|local_rank)\d+\]:)"  # torchrun
    r"|\[\d+,\d+\]<std(?:err|out)>:"  # mpirun
    rf"|{_LEVEL} \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? {_PLACE}"  # vLLM
    rf"|{_LEVEL} {_PLACE}"
    rf"|{TORCH}"
    rf"|\[{_TIME}(?P<part>(?: [A-Z]{{2}}\d+)*)[\]]"  # SGLang
    rf"|(?:stdout|stderr) [FP] "  # Kubernetes
    rf"|{_TIME} \d\d[OE]\+?(?= |$)"  # GitLab
    rf"|\[?{_TIME}\]?(?: [A-Z]{{3,4}}\b)?"
    rf"(?:[ ,:]*[-|][ ]*{_LEVEL}[ ]*[-|][^-|\n]{{0,80}}[-|]|[ ]*-[ ]*[\w.]+[ ]*-[ ]*{_LEVEL}[ ]*-)?"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d(?: [\w.-]+ [\w./-]+(?:\[\d+\])?:)?"  # syslog
    r"|\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]?"
    r"|##\[(?:error|warning|group|debug)\]|::(?:error|warning)[^:\n]*::"  # GitHub, Azure
    r"|(?P<task>\d{1,3}):(?= )"  # srun -l
    rf"|(?!ERROR \S+\.py::)\[?{_LEVEL}\]?(?::[\w.]*:|:| -| \||(?=\s+\S+ -))"
    r"|>(?= |$)|│|┃|\|(?= )"  # a quotation, a table
    r") ?"
)
_SERVICE = re.compile(r"(?P<service>[A-Za-z][\w.-]*[\d_-]\w*) +\|(?= |$) ?")  # docker compose
_LONGEST = 300
# A line that is sure to be of a traceback, wherever in a line it stands: what is before it is a prefix.
_LANDMARK = re.compile(r'Traceback \(most recent call last\)|torch\._dynamo hit config| {0,2}File "[^"\n]+", line \d+')

_NAMED = re.compile(r"\b(?:\w*Error|\w*Exception|Original|Group)\b")
# What changes from line to line: a commit, a number with the sign that grep puts after it, white space.
_CHANGES = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{6,}\b|[:-]?\d+[:-]?|\s+")
_RANK = re.compile(
    r"\b(?:(?:local[_ ]?)?rank|worker|actor|tp|dp|pp|ep|gpu|pid|proc(?:ess)?|replica|node|host|task|pod)[ _:=#/-]*\d+",
    re.I,
)
_MOST = 8


def may_teach(raw: str) -> bool:
    """Whether a line may be one of a traceback's that show what stands before it."""
    return "Traceback (" in raw or 'File "' in raw or "torch._dynamo hit" in raw


def known_prefix(raw: str) -> tuple[int, str]:
    """The length of the known prefixes of a line, and who wrote it by them. The text's own indentation is no prefix."""
    writer, place = "", 0
    if "|" in raw and (service := _SERVICE.match(raw)):
        writer, place = service["service"], service.end()
    while place < _LONGEST and raw[place : place + 1] != " ":
        found = _KNOWN.match(raw, place)
        if not found:
            break
        writer = writer or (found[found.lastgroup].strip() if found.lastgroup else "")
        place = found.end()
    return place, writer


class SharedPrefixes:
    """The prefixes that lines of tracebacks share. A line with ``Traceback`` or ``File`` in it teaches one.

    ``forms`` are their patterns, the one learnt last at the end.
    """

    def __init__(self) -> None:
        self.forms: list[str] = []
        self._any: re.Pattern[str] | None = None

    def length(self, raw: str) -> int:
        """The length of the prefix of a line that an earlier line had as well; 0 for none."""
        found = self._any.match(raw) if self._any else None
        return found.end() if found else 0

    def learn(self, raw: str, known: int, following: Callable[[], Sequence[str]]) -> tuple[int, bool]:
        """The length of what stands before a traceback's line, 0 for none, and whether a line that follows has it too.

        Only what another line has too is looked for in later lines, up to a traceback that has nothing before it.
        """
        found = _LANDMARK.search(raw)
        if found is None:
            return 0, False
        traceback, prefix = "File" not in found[0], raw[: found.start()]
        if traceback and known == len(prefix):
            self._keep([])
        deeper = len(prefix) >= known and not prefix[known:].strip()  # only more indentation than the known prefix
        if (deeper and not traceback) or known == len(prefix) or _strange(prefix):
            return 0, False
        shared = self._learn(_form(prefix), following())
        return (len(prefix), shared) if shared or known < len(prefix) else (0, False)

    @staticmethod
    def teaches(raw: str, known: int) -> bool:
        """Whether ``learn`` may take anything from a line: not from a frame that is only more indented than its known prefix."""
        found = _LANDMARK.search(raw)
        return (
            found is None or "File" not in found[0] or bool(raw[known : found.start()].strip()) or found.start() < known
        )

    def _learn(self, form: str, following: Sequence[str]) -> bool:
        pattern = re.compile(form)
        shared = any(pattern.match(line) for line in following)
        if following and not shared:
            return False
        self._keep([*(other for other in self.forms if other != form), form][-_MOST:])
        return shared

    def _keep(self, forms: list[str]) -> None:
        if forms != self.forms:
            self.forms, self._any = forms, re.compile("|".join(forms)) if forms else None


def rank_in(prefix: str) -> str:
    """The rank, worker or host that a prefix names; empty for none."""
    return " ".join(_RANK.findall(prefix))


def _strange(prefix: str) -> bool:
    """Whether this is text rather than a prefix: it is long, or names an exception."""
    return len(prefix) > _LONGEST or bool(_NAMED.search(prefix))


def _form(prefix: str) -> str:
    """A pattern for the prefix on other lines: numbers, times and commits may differ, white space at its end may not."""
    text = prefix.rstrip()
    parts, place = [], 0
    for found in _CHANGES.finditer(text):
        parts += [re.escape(text[place : found.start()]), _any_like(found[0])]
        place = found.end()
    end = re.escape(prefix[len(text) :])
    return "".join(parts) + re.escape(text[place:]) + (f"(?:{end}|$)" if text else end)


def _any_like(part: str) -> str:
    if part.isspace():
        return r"\s*"
    digits = part.strip(":-")
    if not digits.isdigit():
        return "[0-9a-f]+"
    return ("[:-]" if part[0] in ":-" else "") + r"\d+" + ("[:-]" if part[-1] in ":-" else "")
