"""What the audit of one FlashInfer or several says: rows that break or were not run, and what became of them. Plain rich."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rich.table import Table
from rich.text import Text

from harness.audit.row import BREAKS, HOLDS, NOT_APPLICABLE, NOT_RUN, SURVEY, Row
from harness.engines.flashinfer.plan import ROWS

COMPILED = ("aot_eager", "inductor")
_STYLES = {HOLDS: "green", BREAKS: "bold red", NOT_APPLICABLE: "dim", NOT_RUN: "yellow", "": "dim"}


@dataclass(frozen=True)
class Audited:
    """One FlashInfer with its rows; ``failed`` says why it could not be judged."""

    version: str
    rows: Sequence[Row]
    failed: str = ""
    scripts: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def row(self, op: str, name: str) -> Row | None:
        """One row, if there is one."""
        return next((row for row in self.rows if (row.op, row.row) == (op, name)), None)

    @property
    def ops(self) -> list[str]:
        """Its ops, in the order of its source."""
        return list(dict.fromkeys(row.op for row in self.rows))

    @property
    def broken(self) -> list[tuple[str, str]]:
        """(op, row) of each that breaks."""
        return list(dict.fromkeys((row.op, row.row) for row in self.rows if row.status == BREAKS))

    def others(self, row: Row) -> list[str]:
        """The other samples on which a row breaks."""
        return [one.variant for one in self.rows if (one.op, one.row) == (row.op, row.row) and one is not row]

    def told(self) -> dict[tuple[str, str, str], str]:
        """What breaks, by op, row and sample. A compiled row is left out: it breaks because another one does."""
        broken = [row for row in self.rows if row.status == BREAKS and row.row not in COMPILED]
        return {(row.op, row.row, row.variant): row.what for row in broken}


def table(audited: Sequence[Audited], verbose: int = 0) -> Table:
    """Each row that breaks in some version, a column a version. Verbose shows every row."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column("op and property", no_wrap=True)
    for one in audited:
        grid.add_column(one.version, no_wrap=True)
    grid.add_column("what", overflow="fold")
    for op in _ops(audited):
        names = [name for name in ROWS if verbose or any((op, name) in one.broken for one in audited)]
        found = {name: [one.row(op, name) for one in audited] for name in names}
        shown = {name: rows for name, rows in found.items() if any(rows)}
        if shown:
            grid.add_row(Text(op, style="bold"))
        for name, rows in shown.items():
            cells = [Text(row.status if row else "", style=_STYLES[row.status if row else ""]) for row in rows]
            grid.add_row(f"  {name}", *cells, _what(audited, rows, verbose))
    return grid


def _ops(audited: Sequence[Audited]) -> list[str]:
    return list(dict.fromkeys(op for one in reversed(audited) for op in one.ops))


def _what(audited: Sequence[Audited], rows: Sequence[Row | None], verbose: int) -> Text:
    """What was seen: once where the versions say the same, else each by name."""
    told = {
        one.version: _words(row, one.others(row))
        for one, row in zip(audited, rows, strict=True)
        if row and (verbose or row.status == BREAKS)
    }
    if len(set(told.values())) <= 1:
        return Text(next(iter(told.values()), ""))
    return Text("\n".join(f"{version}: {words}" for version, words in told.items()))


def _words(row: Row, others: Sequence[str]) -> str:
    more = f"; also {', '.join(f'[{name}]' for name in others)}" if others else ""
    return row.what + (f" [{row.variant}]" if row.variant else "") + more


def unrun(audited: Audited) -> list[str]:
    """The ops of which only the declaration was judged, by reason."""
    reasons: dict[str, list[str]] = {}
    for row in audited.rows:
        if row.row == SURVEY and row.status != HOLDS:
            reasons.setdefault(row.what, []).append(row.op)
    return [f"not run  {audited.version}: {', '.join(ops)}: {why}" for why, ops in reasons.items()]


def scripts(audited: Audited) -> list[str]:
    """For each row that breaks, the script that shows it with FlashInfer alone, on a CPU."""
    first = {key[:2]: (key[2], text) for key, text in reversed(audited.scripts.items())}
    return [
        f"\n# {audited.version}: {_named((op, row, sample))}\n{text}"
        for (op, row), (sample, text) in reversed(first.items())
    ]


def summary(audited: Audited) -> str:
    """One line a version."""
    if audited.failed:
        return f"{audited.version}: could not be judged: {audited.failed}"
    counts = Counter(row.status for row in audited.rows)
    ran = sum(row.row == SURVEY and row.status == HOLDS for row in audited.rows)
    broken = len({op for op, _ in audited.broken})
    return (
        f"{audited.version}: {len(audited.ops)} ops, {ran} of them run; {counts[BREAKS]} rows of {broken} ops break, "
        f"{counts[HOLDS]} hold, {counts[NOT_RUN]} were not run"
    )


def changes(audited: Sequence[Audited]) -> list[str]:
    """What was mended, what is new and what still breaks from each version to the next, sample by sample."""
    lines: list[str] = []
    for old, new in pairwise([one for one in audited if not one.failed]):
        was, now = old.told(), new.told()
        looked = {(row.op, row.row) for row in new.rows if row.status in (HOLDS, BREAKS)}
        before = set(old.ops)
        mended = [key for key in was if key not in now and key[:2] in looked]
        fresh = [key for key in now if key not in was]
        counts = f"{len(set(was) & set(now))} breaches remain, {len(mended)} are mended, {len(fresh)} are new"
        lines += [f"{old.version} to {new.version}: {counts}"]
        lines += [f"  mended  {_named(key)}: {was[key]}" for key in mended]
        lines += [f"  new     {_named(key)}{'' if key[0] in before else ' (a new op)'}: {now[key]}" for key in fresh]
    return lines


def _named(key: tuple[str, str, str]) -> str:
    op, row, sample = key
    return f"{op}, {row}" + (f" [{sample}]" if sample else "")


def exit_code(audited: Sequence[Audited], named: bool) -> int:
    """2 if a version, or an op that was named, could not be judged; else 1 if a row breaks, else 0."""
    for one in audited:
        idle = [row for row in one.rows if row.row == SURVEY and row.status == NOT_RUN]
        if one.failed or (named and idle) or not one.rows:
            return 2
    return 1 if any(one.broken for one in audited) else 0
