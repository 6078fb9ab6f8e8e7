"""The text of an audit: a table for each op, reproducing commands and a summary. Only rich, no torch."""

from collections import Counter

from rich.table import Table
from rich.text import Text

from harness.audit.row import BREAKS, HOLDS, NO_VARIANT, NOT_APPLICABLE, NOT_RUN, SURVEY, Row
from harness.base.printable import printable

_STYLES = {HOLDS: "green", BREAKS: "bold red", NOT_APPLICABLE: "dim", NOT_RUN: "yellow"}
_SHOWN_NOTES = 2


def table(op: str, rows: list[Row], verbose: int = 0) -> Table:
    """The properties of one op, with the variant that shows each breach."""
    grid = Table(title=op, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column("property", no_wrap=True)
    grid.add_column("", no_wrap=True)
    grid.add_column("what", overflow="fold")
    for row in rows:
        what = Text(printable(row.what) + (f" [{row.variant}]" if row.variant else ""))
        what.append(f" ({row.seconds:.1f} s)" if verbose else "", style="dim")
        shown = row.notes if verbose else row.notes[:_SHOWN_NOTES]
        for note in shown:
            what.append(f"\nnote: {printable(note)}", style="dim")
        if len(row.notes) > len(shown):
            what.append(f"\n{len(row.notes) - len(shown)} more notes with -v", style="dim")
        grid.add_row(row.row, Text(row.status, style=_STYLES[row.status]), what)
    return grid


def reproduce_lines(rows: list[Row]) -> list[str]:
    """The reproducing command of each row that breaks."""
    broken = [row for row in rows if row.status == BREAKS]
    return [f"reproduce   {row.row}: {row.reproduce}" for row in broken]


def summary(rows: list[Row], seconds: float) -> str:
    """The last line: how many ops, and how many rows of each status."""
    counts = Counter(row.status for row in rows)
    ops = len({row.op for row in rows})
    by_status = ", ".join(
        f"{counts[status]} {status}" for status in (BREAKS, HOLDS, NOT_APPLICABLE, NOT_RUN) if counts[status]
    )
    return f"{ops} op{'s' if ops != 1 else ''}, {len(rows)} rows: {by_status}; {seconds:.1f} s"


def exit_code(rows: list[Row]) -> int:
    """2 if an op could not be run, or --variant names nothing; else 1 if a row breaks, else 0."""
    looked = [row for row in rows if not row.what.startswith(NO_VARIANT)]
    if any(row.unusable for row in rows) or not looked or (looked != rows and all(row.row == SURVEY for row in looked)):
        return 2
    return 1 if any(row.status == BREAKS for row in rows) else 0
