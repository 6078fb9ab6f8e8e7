"""The terminal: live progress while cases run, then a table of models and modes. Colour only on a terminal."""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.table import Table
from rich.text import Text

from harness.base.printable import printable
from harness.findings.finding import ERROR, FINDINGS, LATENT, OK, SKIPPED, WAIVED, Verdict
from harness.matrix.modes import EVERY_MODE, VARIED
from harness.output.report import mode_name

STYLES = {
    OK: "green",
    FINDINGS: "bold red",
    WAIVED: "yellow",
    LATENT: "yellow",
    SKIPPED: "yellow",
    ERROR: "bold magenta",
}
_PLAIN_SECONDS = 10.0
# A console narrower than _WIDE shows more than _AT_FULL_LENGTH modes by short names.
_AT_FULL_LENGTH, _WIDE = 6, 110
_SHORT = {"cudagraph": "cuda\ngraph", "compiled": "comp.", "dynamic": "dyn.", "emulated": "emul."}


PIPED_WIDTH = 140


def new_console(stderr: bool = False, piped_width: int = PIPED_WIDTH) -> Console:
    """A console that shows text as it is: no emoji for ``:100:``, no markup of its own. Wide where nobody watches.

    $COLUMNS sets another width.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdecimal() else piped_width
    return Console(stderr=stderr, width=width, emoji=False, highlight=False)


class Ticker:
    """Shows how far a run is: a live bar on a terminal, elsewhere a plain line every ten seconds."""

    def __init__(self, console: Console, total: int, what: str = "verdicts") -> None:
        self.console, self.total, self.what, self.done, self.bad = console, total, what, 0, 0
        self._bar: Progress | None = None
        self._last_line = time.monotonic()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show progress for the length of a ``with`` block."""
        if not self.console.is_terminal:
            yield
            return
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self.console, transient=True) as self._bar:
            self._task = self._bar.add_task("starting workers (importing torch)", total=self.total)
            yield

    def tick(self, verdict: Verdict) -> None:
        """Count one more verdict."""
        self.step(f"{verdict.model} {verdict.mode}", verdict.status in (FINDINGS, ERROR))

    def step(self, name: str, bad: bool) -> None:
        """Count one more step, by its name."""
        self.done += 1
        self.bad += bad
        text = escape(printable(name)) + (f"  [red]{self.bad} not ok" if self.bad else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=text)
        elif time.monotonic() - self._last_line > _PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self.console.print(f"{self.done}/{self.total} {self.what}, {self.bad} not ok", highlight=False)


class StatusLine:
    """Shows the steps of a long preparation, on a terminal with a live status line. A context manager.

    Entering it gives a function to call with the text of each step. ``lines``: each step also gets a line that stays.
    """

    def __init__(self, lines: bool = True) -> None:
        self._lines = lines
        self.console = new_console(stderr=True)
        self._status: Status | None = None

    def __enter__(self) -> Callable[[str], None]:
        return self._report

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _report(self, text: str) -> None:
        detail = text.startswith("pip: ")  # the output of pip goes to the status line only
        if self._lines and not detail:
            self.console.print(f"harness: {printable(text)}", markup=False, highlight=False, soft_wrap=True)
        if self.console.is_terminal:
            self._status = self._status or self.console.status("")
            self._status.update(escape(printable(text[:100])))
            self._status.start()


def table(verdicts: list[Verdict], width: int) -> Table:
    """A table of models and modes for a console of this width. A cell says how many of its cases are ok.

    The modes of the family ``varied`` share a column: side by side they would leave no room for the others.
    """
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    shown = {_column(verdict.mode): mode_name(verdict) for verdict in sorted(verdicts, key=lambda v: v.emulated)}
    for verdict in verdicts:
        cells[verdict.model, _column(verdict.mode)].append(verdict.status)
    # With one blank between columns, the longest model and the eight columns of a CPU fit 80 columns by short names.
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("model", no_wrap=True, overflow="fold")
    present = {verdict.mode for verdict in verdicts}
    columns = list(dict.fromkeys(_column(mode) for mode in EVERY_MODE if mode in present))
    short = width < _WIDE and len(columns) > _AT_FULL_LENGTH
    for column in columns:
        name = column if column == VARIED else shown.get(column, column)
        grid.add_column(_heading(name, short), justify="right", overflow="fold")
    for model in sorted({verdict.model for verdict in verdicts}):
        grid.add_row(model, *(cell(cells[model, column]) for column in columns))
    return grid


def _column(mode: str) -> str:
    """The column of a mode: its name, or that of the family for one of the varied modes."""
    return VARIED if mode in EVERY_MODE and EVERY_MODE[mode].family == VARIED else mode


def _heading(name: str, short: bool) -> str:
    name = name.replace("-", "\n").replace(" (emulated)", "\nemulated")
    for word, abbreviation in _SHORT.items() if short else ():
        name = name.replace(word, abbreviation)
    return name


def cell(statuses: list[str], labels: Mapping[str, str] | None = None) -> Text:
    """How many have the worst status, such as ``3 of 8 findings``. ``labels`` renames statuses."""
    if not statuses:
        return Text("-")
    worst = next(status for status in (ERROR, FINDINGS, WAIVED, LATENT, SKIPPED, OK) if status in statuses)
    label, count = (labels or {}).get(worst, worst), statuses.count(worst)
    return Text(f"{count} ok" if worst == OK else f"{count} of {len(statuses)} {label}", style=STYLES[worst])
