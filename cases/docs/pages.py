"""The pages' text: their links, their commands, and what they show of a command's output."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fixtures.imports import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```[^\n]*\n.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TIMES = re.compile(r"\b\d+(\.\d+)? (s|verdicts/s)\b")
_ROOT = re.compile(re.escape(str(ROOT)) + "/")


@dataclass(frozen=True, slots=True)
class Shown:
    """One command of a page, ``$ harness ...``, with the lines that the page shows of its output."""

    page: Path
    command: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.command}"

    def missing(self, output: str) -> str:
        """The first shown line that the output lacks at its place; ``...`` stands for any text. Empty where none does."""
        given = [_normal(line) for line in output.splitlines() if line.strip()]
        free = True
        for line in (_normal(line) for line in self.lines if line.strip()):
            if line == "...":
                free = True
                continue
            pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
            place = next((at for at, text in enumerate(given) if pattern.fullmatch(text)), None)
            if place is None or (place and not free):
                return line
            given, free = given[place + 1 :], False
        return ""


def _normal(line: str) -> str:
    """Without the folder of the checkout, times, and the widths of a table's columns."""
    return re.sub(r"\s+", " ", _TIMES.sub("0 s", _ROOT.sub("", line))).strip()


def shown(page: Path) -> Iterator[Shown]:
    """Every command in a page's console blocks."""
    for block in _BLOCK.findall(page.read_text("utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            yield Shown(page, re.sub(r"\s+", " ", command), tuple(output.splitlines()))


def links(page: Path) -> Iterator[str]:
    """Every link of a page that is no address of the web."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return (target for target in _LINK.findall(text) if not re.match(r"[a-z]+:", target))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
