"""The payload of the page: plain JSON in columns, with every text made printable, and no larger than a page may be."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from harness.base.printable import bounded, printable
from harness.matrix.modes import EVERY_MODE
from harness.nightly.cells import ORDER, Cell, Group, Sums, summed
from harness.nightly.environment import differences, in_order, label, names_a_commit
from harness.nightly.history import RANKS, History, Result, Run
from harness.nightly.nights import FLAKY, Compared, Nights, compared, nights_by_runner
from harness.nightly.others import audits, refused, selftests, times

# A page opens in a second up to here. What is left out is counted on the page.
MOST_CELLS, MOST_DETAILS, MOST_GROUPS = 40_000, 3_000, 400
_LONGEST_TEXT = 4_000


def night_text(night: int) -> str:
    """A night as 2026-11-27."""
    return date.fromordinal(night).isoformat() if night else ""


def clean(value: Any) -> Any:
    """The value with each text printable and bounded: nothing that a browser or a terminal obeys is left in it."""
    if isinstance(value, str):
        return printable(bounded(value, _LONGEST_TEXT))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    if isinstance(value, dict):
        return {clean(str(key)): clean(part) for key, part in value.items()}
    return [clean(part) for part in value] if isinstance(value, list | tuple) else value


@dataclass
class Numbers:
    """Gives each value a number, in the order in which they come."""

    values: dict[Any, int] = field(default_factory=dict)

    def __call__(self, value: Any) -> int:
        """The number of a value."""
        return self.values.setdefault(value, len(self.values))


class Payload:
    """Makes the two JSON values of the page from a history: the overview, and the details that are opened later."""

    def __init__(self, history: History, most_nights: int) -> None:
        self._history, runs = history, history.runs()
        of_matrix = history.runs_of_the_matrix()
        every = sorted({run.night for run in runs.values()})
        self._nights = every[-most_nights:]
        self._older = len(every) - len(self._nights)
        self._runs = {number: run for number, run in runs.items() if run.night in set(self._nights)}
        self._shown = {number: run for number, run in self._runs.items() if number in of_matrix}
        self._runners = nights_by_runner(self._shown.values())
        self._environments = history.environments()
        self._differences, self._details = Numbers(), Numbers()
        self._pairs: dict[tuple[int, int], int] = {}
        self._about = history.cells()

    def make(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The overview and the details."""
        commits = frozenset(number for number, about in self._environments.items() if names_a_commit(about))
        cases = compared(self._results(), self._shown, self._runners, commits)
        sums = summed(cases, self._about, self._difference)
        overview = {
            "nights": [night_text(night) for night in self._nights],
            "older": self._older,
            "ranks": RANKS,
            "changes": ORDER,
            "modes": list(EVERY_MODE),
            "runners": [self._runner(name, nights, sums) for name, nights in self._runners.items()],
            **self._matrix(sums),
            "durations": self._durations(sums),
            "times": times(self._history, self._runs),
            "audits": audits(self._history, self._runs),
            "selftests": selftests(self._history, self._runs),
            "refused": refused(self._history, self._runs),
        }
        details = [self._history.detail(number) for number in self._details.values]
        return clean(overview), clean(details)

    def _results(self) -> Iterable[Result]:
        return (result for result in self._history.results() if result.run in self._shown)

    def _difference(self, before: int, after: int) -> int:
        """The number of the differences between two environments."""
        if (before, after) not in self._pairs:
            rows = differences(self._environments.get(before, {}), self._environments.get(after, {}))
            self._pairs[before, after] = self._differences(tuple(rows))
        return self._pairs[before, after]

    def _matrix(self, sums: Sums) -> dict[str, Any]:
        """Groups, and cells in columns. The texts of both are numbers of `words`."""
        words, runners = Numbers(), {name: index for index, name in enumerate(self._runners)}
        # A cell where something happened goes before one that is as it was, where not all have a place.
        keys = sorted(sums.cells, key=lambda key: _calm(sums.cells[key]))[:MOST_CELLS]
        keys.sort(key=lambda key: (self._about[key[1]][1], self._about[key[1]][3], self._about[key[1]][0], key[0]))
        index = {key: place for place, key in enumerate(keys)}
        groups = sorted(sums.groups.values(), key=lambda group: (ORDER.index(group.first.change), -group.count))
        cells = [self._cell(key, sums.cells[key], words, runners) for key in keys]
        rows = [self._group(group, index, runners) for group in groups[:MOST_GROUPS]]
        columns = {name: [cell[name] for cell in cells] for name in (cells[0] if cells else {})}
        rest: dict[str, Any] = {
            "cells_left_out": len(sums.cells) - len(keys),
            "groups_left_out": len(groups) - len(rows),
        }
        named = {"words": list(words.values), "differences": list(self._differences.values)}
        return rest | {"groups": rows, "cells": columns} | named

    def _cell(self, key: tuple[str, int], cell: Cell, words: Numbers, runners: dict[str, int]) -> dict[str, Any]:
        subject, model, mode, backend = map(words, self._about[key[1]])
        return {
            "runner": runners[key[0]],
            "subject": subject,
            "model": model,
            "mode": mode,
            "backend": backend,
            "state": words(cell.state),
            "counts": [cell.statuses[rank] for rank in range(len(RANKS))],
            "changes": [cell.changes[change] for change in ORDER],
            "worst": "".join(str(cell.worst.get(night, "-")) for night in self._nights),
            "seconds": round(cell.seconds, 2),
            "cases": [self._case(case) for case in cell.cases],
        }

    def _case(self, case: Compared) -> dict[str, Any]:
        shown = case.now if case.now is not None and case.now.detail else case.was
        worst = "".join(str(case.nights[night].status) if night in case.nights else "-" for night in self._nights)
        return {
            "name": self._history.case(case.case),
            "change": case.change,
            "status": RANKS[case.now.status] if case.now else "",
            "detail": self._detail(shown),
            "was": bool(shown) and shown is case.was,
            "worst": worst,
            "earlier": night_text(case.earlier),
            "difference": self._between(case),
        }

    def _detail(self, result: Result | None) -> int:
        if result is None or not result.detail:
            return -1
        if len(self._details.values) >= MOST_DETAILS and result.detail not in self._details.values:
            return -2
        return self._details(result.detail)

    def _between(self, case: Compared) -> int:
        if case.now is None or case.was is None or not case.was.environment or not case.now.environment:
            return -1
        return self._difference(case.was.environment, case.now.environment)

    def _group(self, group: Group, index: dict[tuple[str, int], int], runners: dict[str, int]) -> dict[str, Any]:
        case, runner = group.first, group.first.runner
        shown = case.now if case.now is not None and case.now.detail else case.was
        about = self._history.detail(shown.detail) if shown else {}
        finding: dict[str, Any] = next(iter(about.get("findings", [])), {})
        places = [self._about[number] for number in group.cells]
        return {
            "change": case.change,
            "runners": [runners[name] for name in group.runners],
            "subject": places[0][0],
            "kind": finding.get("kind", ""),
            "stage": finding.get("stage", ""),
            "what": finding.get("what") or about.get("reason", ""),
            "count": group.count,
            "models": list(dict.fromkeys(place[1] for place in places)),
            "modes": list(dict.fromkeys(place[2] for place in places)),
            "cells": [index[runner, number] for number in group.cells if (runner, number) in index][:1],
            "earlier": night_text(case.earlier),
            "commit": names_a_commit(self._environments.get(case.now.environment if case.now else 0, {})),
            "difference": self._between(case) if case.change != FLAKY else -1,
        }

    def _runner(self, name: str, nights: Nights, sums: Sums) -> dict[str, Any]:
        runs = [run for run in self._shown.values() if run.runner == name and run.night == nights.newest]
        named = [run.about["environment"] for run in runs if isinstance(run.about.get("environment"), dict)]
        about: dict[str, Any] = named[-1] if named else self._seen(runs)
        return {
            "name": name,
            "newest": night_text(nights.newest),
            "before": night_text(nights.before),
            "environment": [(label(key), about[key]) for key in in_order(about) if about[key] and "." not in key],
            "commit": next((str(run.about["commit"]) for run in runs if run.about.get("commit")), ""),
            "stopped": sum(1 for run in runs if run.about.get("started") and not run.about.get("finished")),
            "absent": _absent(runs),
            "shared": sums.shared[name],
            "compared": sums.compared[name],
        }

    def _seen(self, runs: list[Run]) -> dict[str, str]:
        """An environment of records that name no run: of one of their verdicts."""
        query = "select environment from results where run = ? and environment > 0 limit 1"
        row = self._history.connection.execute(query, (runs[-1].id,)).fetchone() if runs else None
        return self._environments.get(row[0], {}) if row else {}

    def _durations(self, sums: Sums) -> list[dict[str, Any]]:
        """Mean seconds of a case, for each runner and mode, night by night; null where it has none."""
        pairs = dict.fromkeys((runner, mode) for runner, mode, _ in sums.seconds)
        values = [(pair, [_mean(sums.seconds.get((*pair, night))) for night in self._nights]) for pair in pairs]
        return [{"name": f"{runner}, {mode}", "values": row} for (runner, mode), row in sorted(values) if any(row)]


def _mean(total: list[float] | None) -> float | None:
    return round(total[0] / total[1], 4) if total else None


def _calm(cell: Cell) -> int:
    state = cell.state
    return ORDER.index(state) if state in ORDER else 2 * len(RANKS) - RANKS.index(state)


def _absent(runs: list[Run]) -> list[str]:
    """Shards of which no record came, such as ``3/8``."""
    seen: dict[int, set[int]] = {}
    for run in runs:
        shard = run.about.get("shard")
        if isinstance(shard, dict) and isinstance(shard.get("of"), int) and isinstance(shard.get("index"), int):
            seen.setdefault(min(shard["of"], 10_000), set()).add(shard["index"])
    return [f"{index}/{of}" for of, own in seen.items() for index in range(1, of + 1) if index not in own]
