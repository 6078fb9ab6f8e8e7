"""The report on one or several versions of an engine: a table of breaches, ops that were not run, and changes between versions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rich.table import Table
from rich.text import Text

from harness.audit.row import BREAKS, HOLDS, NOT_APPLICABLE, NOT_RUN, SURVEY, Row
from harness.engines.declared.rows import ROWS

COMPILED = ("aot_eager", "inductor")
_STYLES = {HOLDS: "green", BREAKS: "bold red", NOT_APPLICABLE: "dim", NOT_RUN: "yellow", "": "dim"}


@dataclass(frozen=True)
class AuditedVersion:
    """One version with its rows. ``failed`` says why it could not be audited."""

    version: str
    rows: Sequence[Row]
    failed: str = ""
    scripts: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def row(self, op: str, name: str) -> Row | None:
        """The row of an op by name, if there is one."""
        return next((row for row in self.rows if (row.op, row.row) == (op, name)), None)

    @property
    def ops(self) -> list[str]:
        """Its ops in the order of its source."""
        return list(dict.fromkeys(row.op for row in self.rows))

    @property
    def broken(self) -> list[tuple[str, str]]:
        """(op, row) of each that breaks."""
        return list(dict.fromkeys((row.op, row.row) for row in self.rows if row.status == BREAKS))

    def others(self, row: Row) -> list[str]:
        """The other samples on which a row breaks."""
        return [one.variant for one in self.rows if (one.op, one.row) == (row.op, row.row) and one is not row]

    def breaches(self) -> dict[tuple[str, str, str], str]:
        """What breaks, by op, row and sample. Compiled rows are left out: they break because another row does."""
        broken = [row for row in self.rows if row.status == BREAKS and row.row not in COMPILED]
        return {(row.op, row.row, row.variant): row.what for row in broken}


def table(audited: Sequence[AuditedVersion], verbose: int = 0) -> Table:
    """Each row that breaks in some version, with a column for each version. With ``verbose``, every row."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column("op and property", no_wrap=True)
    for one in audited:
        grid.add_column(one.version, no_wrap=True)
    grid.add_column("what", overflow="fold")
    for op in _ops(audited):
        names = [name for name in ROWS if verbose or any((op, name) in one.broken for one in audited)]
        rows_by_name = {name: [one.row(op, name) for one in audited] for name in names}
        shown = {name: rows for name, rows in rows_by_name.items() if any(rows)}
        if shown:
            grid.add_row(Text(op, style="bold"))
        for name, rows in shown.items():
            cells = [Text(row.status if row else "", style=_STYLES[row.status if row else ""]) for row in rows]
            grid.add_row(f"  {name}", *cells, _what(audited, rows, verbose))
    return grid


def _ops(audited: Sequence[AuditedVersion]) -> list[str]:
    return list(dict.fromkeys(op for one in reversed(audited) for op in one.ops))


def _what(audited: Sequence[AuditedVersion], rows: Sequence[Row | None], verbose: int) -> Text:
    """The text of a row: once if all versions agree, else by version."""
    text_by_version = {
        one.version: _text(row, one.others(row))
        for one, row in zip(audited, rows, strict=True)
        if row and (verbose or row.status == BREAKS)
    }
    if len(set(text_by_version.values())) <= 1:
        return Text(next(iter(text_by_version.values()), ""))
    return Text("\n".join(f"{version}: {text}" for version, text in text_by_version.items()))


def _text(row: Row, others: Sequence[str]) -> str:
    more = f"; also {', '.join(f'[{name}]' for name in others)}" if others else ""
    return row.what + (f" [{row.variant}]" if row.variant else "") + more


def unrun(audited: AuditedVersion) -> list[str]:
    """The ops that were not run, by reason. Only their declarations were checked."""
    reasons: dict[str, list[str]] = {}
    for row in audited.rows:
        if row.row == SURVEY and row.status != HOLDS:
            reasons.setdefault(row.what, []).append(row.op)
    return [f"not run  {audited.version}: {', '.join(ops)}: {why}" for why, ops in reasons.items()]


def scripts(audited: AuditedVersion) -> list[str]:
    """For each breach, a script that shows it on a CPU with the engine alone."""
    first = {key[:2]: (key[2], text) for key, text in reversed(audited.scripts.items())}
    return [
        f"\n# {audited.version}: {_named((op, row, sample))}\n{text}"
        for (op, row), (sample, text) in reversed(first.items())
    ]


def summary(audited: AuditedVersion) -> str:
    """One line a version."""
    if audited.failed:
        return f"{audited.version}: could not be audited: {audited.failed}"
    counts = Counter(row.status for row in audited.rows)
    ran = sum(row.row == SURVEY and row.status == HOLDS for row in audited.rows)
    broken = len({op for op, _ in audited.broken})
    return (
        f"{audited.version}: {len(audited.ops)} ops, {ran} of them run; {counts[BREAKS]} rows of {broken} ops break, "
        f"{counts[HOLDS]} hold, {counts[NOT_RUN]} were not run"
    )


def changes(audited: Sequence[AuditedVersion]) -> list[str]:
    """What was fixed, what is new and what still breaks from each version to the next, sample by sample."""
    lines: list[str] = []
    for old, new in pairwise([one for one in audited if not one.failed]):
        was, now = old.breaches(), new.breaches()
        checked = {(row.op, row.row) for row in new.rows if row.status in (HOLDS, BREAKS)}
        before = set(old.ops)
        fixed = [key for key in was if key not in now and key[:2] in checked]
        fresh = [key for key in now if key not in was]
        counts = f"{len(set(was) & set(now))} breaches remain, {len(fixed)} are fixed, {len(fresh)} are new"
        lines += [f"{old.version} to {new.version}: {counts}"]
        lines += [f"  fixed   {_named(key)}: {was[key]}" for key in fixed]
        lines += [f"  new     {_named(key)}{'' if key[0] in before else ' (a new op)'}: {now[key]}" for key in fresh]
    return lines


def _named(key: tuple[str, str, str]) -> str:
    op, row, sample = key
    return f"{op}, {row}" + (f" [{sample}]" if sample else "")


def exit_code(audited: Sequence[AuditedVersion], named: bool) -> int:
    """2 if a version, or an op that the user named, could not be audited; else 1 if a row breaks, else 0."""
    for one in audited:
        not_run = [row for row in one.rows if row.row == SURVEY and row.status == NOT_RUN]
        if one.failed or (named and not_run) or not one.rows:
            return 2
    return 1 if any(one.broken for one in audited) else 0
