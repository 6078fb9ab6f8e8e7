"""Groups of cases that break together, and the table of releases, groups and modes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from harness.findings.finding import ERROR, FINDINGS, OK, SKIPPED, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE
from harness.matrix.selection import Selection
from harness.output.terminal import STYLES, cell

REST = "all else"


class Grouped:
    """The groups of a selection's cases, by id: ``2880/3072 shared, narrow``."""

    def __init__(self, selection: Selection) -> None:
        self._groups = {case.id: group(case) for case, _ in selection.tasks()}

    def of(self, verdict: Verdict) -> str:
        """The group that a verdict's case belongs to."""
        return self._groups.get(verdict.case, verdict.model)


def group(case: Case) -> str:
    """The name of a case's group: width and padded width, layer parts, and which width the kernel writes."""
    width = f"{case.width}/{case.padded}" if case.padded != case.width else f"{case.width}"
    parts = [part for part, there in (("latent", case.latent), ("shared", case.shared)) if there]
    return " ".join([width, *parts, case.kernel])


def releases_table(
    title: str, verdicts: list[Verdict], refused: Mapping[str, str], cases: Grouped, verbose: int
) -> Table:
    """A row for each group of a release that breaks, and one row for all its other groups."""
    modes = [mode.name for mode in EVERY_MODE.values() if mode.name in {verdict.mode for verdict in verdicts}]
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in (title, "width/padded"):
        grid.add_column(heading, no_wrap=True, overflow="fold")
    for mode in modes:
        suffix = "\nemulated" if any(verdict.emulated for verdict in verdicts if verdict.mode == mode) else ""
        grid.add_column(mode.replace("-", "\n") + suffix, justify="right", overflow="fold")
    for spec in dict.fromkeys([verdict.subject for verdict in verdicts]):
        rows = _rows([verdict for verdict in verdicts if verdict.subject == spec], cases, verbose)
        for place, (name, group_verdicts) in enumerate(rows.items()):
            grid.add_row(
                _short(spec) if not place else "",
                name,
                *(_cell(v for v in group_verdicts if v.mode == m) for m in modes),
            )
    for spec in refused:
        grid.add_row(_short(spec), Text("not judged", style=STYLES[ERROR]))
    return grid


def _short(spec: str) -> str:
    return spec.partition("@")[2] or spec.partition("==")[2] or spec


def _rows(verdicts: list[Verdict], cases: Grouped, verbose: int) -> dict[str, list[Verdict]]:
    rows: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        rows[cases.of(verdict)].append(verdict)
    quiet = [
        name
        for name, group_verdicts in rows.items()
        if not verbose and all(v.status in (OK, SKIPPED) for v in group_verdicts)
    ]
    rest = [verdict for name in quiet for verdict in rows.pop(name)]
    return dict(sorted(rows.items())) | ({REST if rows else "all": rest} if rest else {})


def _cell(verdicts: Iterable[Verdict]) -> Text:
    listed = list(verdicts)
    return cell([verdict.status for verdict in listed], {FINDINGS: _label(listed)})


def _label(verdicts: list[Verdict]) -> str:
    """The bug's number if every finding is similar to one public bug of the engine, else ``red``."""
    findings = [
        (verdict.subject, finding) for verdict in verdicts if verdict.status == FINDINGS for finding in verdict.findings
    ]
    ids = {_number(subject, finding.similar_to) for subject, finding in findings}
    return ids.pop() if len(ids) == 1 and "" not in ids else "red"


def _number(subject: str, bugs: Sequence[str]) -> str:
    """The first bug's id, without the name of the engine itself: ``#41645``. Empty where there is none."""
    own = subject.partition("@")[0].partition("==")[0]
    return bugs[0].partition(" ")[0].removeprefix(own) if bugs else ""
