"""What a self-test prints: the kill matrix, the totals, survivors, false alarms, and what each observer is good for."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness.matrix.modes import EVERY_MODE
from harness.selftest.corpus import Correct, Fault, observers
from harness.selftest.score import (
    FAILED,
    LEFT_OUT,
    MISSED,
    SILENT,
    TOLD,
    WRONGLY,
    Scored,
    only_by_one,
    silent_count,
    tool_counts,
)
from harness.selftest.tool_names import AGAINST_EAGER, INDUCTOR, OPCHECK, TOOL_NAMES

_MARKS = {
    TOLD: ("X", "green"),
    WRONGLY: ("?", "bold red"),
    MISSED: ("!", "bold red"),
    SILENT: (".", "dim"),
    FAILED: ("E", "bold magenta"),
    LEFT_OUT: ("s", "yellow"),
}
# Headings for a wide table and for a narrow one.
_TOOLS = {OPCHECK: ("opcheck", "O"), AGAINST_EAGER: ("eager/comp.", "V"), INDUCTOR: ("Inductor", "I")}
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
    "X seen, . not seen, blank not run; modes: ! must see it and does not, ? told as something else, E no verdict, "
    "s skipped; Inductor: S passes, with silently wrong values"
)
SHORT = (
    "columns: e eager, f fake, F its dynamic form, c compiled, C its dynamic form, g cudagraph, G its dynamic form, "
    "k its compiled form, p proof; torch's own: O opcheck, V eager compared with compiled, I Inductor alone"
)


def matrix(scored: Sequence[Scored], width: int) -> Table:
    """Faults by modes, the observers that saw each, and torch's own tools beside them; short headings below WIDE."""
    short = width < WIDE
    faults = [one for one in scored if isinstance(one.entry, Fault)]
    modes = [mode for mode in EVERY_MODE if any(mode in one.marks for one in faults)]
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("fault", no_wrap=True, overflow="fold")
    for mode in modes:
        grid.add_column(_MODES.get(mode, (mode, mode))[short], no_wrap=True)
    grid.add_column("seen by", overflow="fold")
    for name in TOOL_NAMES:
        grid.add_column(_TOOLS[name][short], no_wrap=True)
    for one in faults:
        cells = [_mark(one.marks.get(mode)) for mode in modes]
        grid.add_row(one.entry.id, *cells, ", ".join(one.observers), *(_tool(one, name) for name in TOOL_NAMES))
    return grid


def _mark(mark: str | None) -> Text:
    return Text(*_MARKS[mark]) if mark else Text("")


def _tool(one: Scored, name: str) -> str:
    if not one.tools:
        return ""
    return "X" if one.tools[name]["seen"] else "S" if one.tools[name]["silent"] else "."


def totals(scored: Sequence[Scored]) -> str:
    """One line: faults killed, by us and by each of torch's tools, and the right variants left alone."""
    faults = [one for one in scored if isinstance(one.entry, Fault)]
    right = [one for one in scored if isinstance(one.entry, Correct)]
    counts = tool_counts(faults)
    silent = silent_count(faults)
    told = [
        f"{name} {count}" + (f" ({silent} silently wrong)" if name == INDUCTOR else "")
        for name, count in counts.items()
    ]
    ours = sum(one.killed for one in faults)
    alone = sum(not one.false_alarms for one in right)
    parts = [f"killed: ours {ours} of {len(faults)}; {', '.join(told)}"] if faults else []
    parts += [f"right variants left alone: {alone} of {len(right)}"] if right else []
    return "; ".join(parts)


def problems(scored: Sequence[Scored]) -> list[str]:
    """Survivors and false alarms, each with its reasons and the command that shows it again."""
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
    """What is worth knowing of the observers: the faults that one alone sees, ``most`` by name, and who is spare."""
    faults = [one for one in scored if isinstance(one.entry, Fault)]
    if not faults:
        return []
    alone = only_by_one(faults)
    lines = [f"seen by {name} alone: {len(ids)} ({_some(ids, most)})" for name, ids in alone.items()]
    told = {name for one in faults for name in one.observers}
    for title, names in (
        ("no fault here needs, each also seen by another", [n for n in observers() if n in told and n not in alone]),
        ("saw nothing here", [name for name in observers() if name not in told]),
    ):
        if names:
            lines.append(f"{title}: {', '.join(names)}")
    return lines + [
        f"torch's tools could not look at {one.entry.id}: {died}" for one in faults for died in one.tools_died
    ]


def _some(ids: Sequence[str], most: int) -> str:
    rest = len(ids) - most
    return ", ".join(ids[:most]) + (f", and {rest} more" if rest > 0 else "")
