"""The text of a self-test: the kill matrix, totals, survivors, false alarms, and which observers are needed."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness.matrix.modes import EVERY_MODE
from harness.selftest.corpus import Correct, Fault, observers
from harness.selftest.score import (
    FAILED,
    FOUND,
    LEFT_OUT,
    MISREPORTED,
    MISSED,
    NOT_FOUND,
    Scored,
    only_by_one,
    silent_count,
    tool_counts,
    tools_not_run,
    tools_run,
)
from harness.selftest.tool_names import AGAINST_EAGER, INDUCTOR, LIVENESS, OPCHECK

_MARKS = {
    FOUND: ("X", "green"),
    MISREPORTED: ("?", "bold red"),
    MISSED: ("!", "bold red"),
    NOT_FOUND: (".", "dim"),
    FAILED: ("E", "bold magenta"),
    LEFT_OUT: ("s", "yellow"),
}
# Headings for a wide table and for a narrow one.
_TOOLS = {
    OPCHECK: ("opcheck", "O"),
    AGAINST_EAGER: ("eager/comp.", "V"),
    INDUCTOR: ("Inductor", "I"),
    LIVENESS: ("inputs\nalive", "L"),
}
_MODES = {
    "eager": ("eager", "e"),
    "fake": ("fake", "f"),
    "fake-dynamic": ("fake\ndynamic", "F"),
    "compiled": ("comp.", "c"),
    "compiled-dynamic": ("comp.\ndynamic", "C"),
    "cudagraph": ("cuda\ngraph", "g"),
    "cudagraph-dynamic": ("c.graph\ndynamic", "G"),
    "cudagraph-compiled": ("c.graph\ncomp.", "k"),
    "proof": ("proof", "p"),
}
WIDE = 110
LEGEND = (
    "X found, . not found, blank not run; modes: ! not found but must be, ? found only as something else, E no verdict, "
    "s skipped; Inductor: S no error, but silently wrong values"
)
SHORT = (
    "columns: e eager, f fake, F its dynamic form, c compiled, C its dynamic form, g cudagraph, G its dynamic form, "
    "k its compiled form, p proof; torch's own: O opcheck, V eager compared with compiled, I Inductor alone, L input liveness"
)


def matrix(scored: Sequence[Scored], width: int) -> Table:
    """A table of faults and modes, with the observers that found each fault and torch's own tools. Narrow below WIDE."""
    short = width < WIDE
    faults = [one for one in scored if isinstance(one.entry, Fault)]
    modes = [mode for mode in EVERY_MODE if any(mode in one.marks for one in faults)]
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(
        "fault", no_wrap=True, overflow="fold", min_width=max((len(one.entry.id) for one in faults), default=0)
    )
    for mode in modes:
        grid.add_column(_MODES.get(mode, (mode, mode))[short], no_wrap=True)
    grid.add_column("found by", overflow="fold")
    tools = tools_run(faults)
    for name in tools:
        grid.add_column(_TOOLS[name][short], no_wrap=True)
    for one in faults:
        cells = [_mark(one.marks.get(mode)) for mode in modes]
        grid.add_row(one.entry.id, *cells, ", ".join(one.observers), *(_tool(one, name) for name in tools))
    return grid


def _mark(mark: str | None) -> Text:
    return Text(*_MARKS[mark]) if mark else Text("")


def _tool(one: Scored, name: str) -> str:
    if not one.tools or one.tools[name]["not_run"]:
        return ""
    return "X" if one.tools[name]["seen"] else "S" if one.tools[name]["silent"] else "."


def totals(scored: Sequence[Scored]) -> str:
    """One line: how many faults the harness kills and torch's tools find, and how many correct variants have no finding."""
    faults = [one for one in scored if isinstance(one.entry, Fault)]
    correct = [one for one in scored if isinstance(one.entry, Correct)]
    counts = tool_counts(faults)
    silent = silent_count(faults)
    by_tool = [
        f"{name} {count}" + (f" ({silent} silently wrong)" if name == INDUCTOR else "")
        for name, count in counts.items()
    ]
    ours = sum(one.killed for one in faults)
    clean = sum(not one.false_alarms for one in correct)
    parts = [f"killed: harness {ours} of {len(faults)}; {', '.join(by_tool)}"] if faults else []
    parts += [f"correct variants without a finding: {clean} of {len(correct)}"] if correct else []
    return "; ".join(parts)


def problems(scored: Sequence[Scored]) -> list[str]:
    """Survivors and false alarms, each with its reasons and the command that reproduces it."""
    texts = []
    for one in scored:
        for title, reasons in (("survivor", one.survived), ("false alarm", one.false_alarms)):
            if reasons:
                lines = [
                    f"{title}: {one.entry.id}: {_about(one)}",
                    *(f"  {reason}" for reason in reasons),
                    *_reproduce(one),
                ]
                texts.append("\n".join(lines))
    return texts


def _about(one: Scored) -> str:
    return one.entry.mechanism if isinstance(one.entry, Fault) else one.entry.about


def _reproduce(one: Scored) -> list[str]:
    blamed = one.blamed or next((answer for answer in one.shown), None)
    return [f"  reproduce {blamed.verdict.reproduce}"] if blamed and blamed.verdict else []


def notes(scored: Sequence[Scored], most: int = 4) -> list[str]:
    """Notes on the observers: the faults that only one finds, ``most`` of them by name, and observers that are not needed."""
    faults = [one for one in scored if isinstance(one.entry, Fault)]
    if not faults:
        return []
    alone = only_by_one(faults)
    lines = [f"found by {name} alone: {len(ids)} ({_some(ids, most)})" for name, ids in alone.items()]
    reporting = {name for one in faults for name in one.observers}
    for title, names in (
        (
            "not needed for any fault here, since another observer finds each of theirs",
            [n for n in observers() if n in reporting and n not in alone],
        ),
        ("found nothing here", [name for name in observers() if name not in reporting]),
    ):
        if names:
            lines.append(f"{title}: {', '.join(names)}")
    for name, reasons in tools_not_run(faults).items():
        lines += [f"{name} was not run for {count} of {len(faults)} faults: {why}" for why, count in reasons.items()]
    return lines + [
        f"torch's tools could not run on {one.entry.id}: {died}" for one in faults for died in one.tools_died
    ]


def _some(ids: Sequence[str], most: int) -> str:
    rest = len(ids) - most
    return ", ".join(ids[:most]) + (f", and {rest} more" if rest > 0 else "")
