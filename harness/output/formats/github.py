"""GitHub Actions: annotations at the user's file and line, and the job summary in Markdown."""

import html
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.output.formats.items import Item, Problem
from harness.runs.header import RunHeader
from harness.runs.results import STATUSES

# GitHub shows ten annotations of each level a step, and a summary of at most a megabyte.
_ANNOTATIONS, _ROWS, _LONGEST_CELL = 10, 50, 300
_MARKDOWN = set("|`*_[]\\~@#!:")


def annotations(items: Sequence[Item], header: RunHeader) -> str:
    """Workflow commands, one a line: an error for each kind of problem at each line, with how many results have it."""
    problems = [(one, problem) for one in items if one.failing for problem in one.problems if not problem.waived]
    counted = Counter((problem.kind, problem.file, problem.line) for _, problem in problems)
    lines: list[str] = []
    met: set[tuple[str, str, int]] = set()
    for one, problem in problems:
        key = (problem.kind, problem.file, problem.line)
        if key not in met and len(met) < _ANNOTATIONS:
            met.add(key)
            lines.append(_annotation(one, problem, counted[key]))
    if len(counted) > len(met):
        more = f"{len(counted) - len(met)} more kinds of problems are not annotated; the log and the records have all"
        lines.append(f"::notice title={_property(header.title)}::{_data(more)}")
    return "".join(f"{line}\n" for line in lines)


def _annotation(one: Item, problem: Problem, count: int) -> str:
    place = f"file={_property(problem.file)}," if problem.file else ""
    place += f"line={problem.line}," if problem.file and problem.line else ""
    also = f"\nalso in {count - 1} more result{'' if count == 2 else 's'}" if count > 1 else ""
    text = f"{problem.message}{also}\nreproduce: {one.reproduce}"
    return f"::error {place}title={_property(problem.title)}::{_data(text)}"


def _data(text: str) -> str:
    """A text in a workflow command: its signs for a new line and for an escape would end or change the command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(items: Sequence[Item], header: RunHeader) -> str:
    """The job summary: how many of each status, then a row for each failure with the command that reproduces it."""
    return "\n".join(_summary(items, header)) + "\n"


def _summary(items: Sequence[Item], header: RunHeader) -> Iterator[str]:
    counts = Counter(one.status for one in items)
    part = f", shard {header.shard}" if header.shard.of > 1 else ""
    yield f"### {_cell(header.title)} on {_cell(header.runner)}{part}\n"
    counted = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "nothing was judged"
    stack = ", ".join(f"{name} {_cell(value)}" for name, value in header.environment.items() if value)
    yield f"{len(items)} result{'' if len(items) == 1 else 's'}: {counted}. {stack}"
    failing = [one for one in items if one.failing]
    if failing:
        yield "\n| result | problem | where | reproduce |\n| --- | --- | --- | --- |"
    for one in failing[:_ROWS]:
        place = next((f"{problem.file}:{problem.line}" for problem in one.problems if problem.file), "")
        yield f"| {_cell(one.name)} | {_cell(one.message)} | {_cell(place)} | <code>{_cell(one.reproduce)}</code> |"
    if len(failing) > _ROWS:
        yield f"\n{len(failing) - _ROWS} more fail; the records have all of them."


def _cell(text: str) -> str:
    """A text in a cell of a table: neither Markdown nor HTML of its own."""
    short = text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}..."
    return "".join(_escaped(sign) for sign in " ".join(short.split()))


def _escaped(sign: str) -> str:
    return f"&#{ord(sign)};" if sign in _MARKDOWN else html.escape(sign)
