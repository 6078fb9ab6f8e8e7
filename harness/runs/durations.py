"""How long each task took before: what shards are planned by. The file is data, the same for every runner of a night."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Self

from harness.base.cache import cache_root
from harness.base.errors import BadInput
from harness.base.text_file import read_regular
from harness.runs.planned import Task

FORMAT = 1
_SHIPPED = Path(__file__).parent / "data" / "durations.json"
# Of a task of which nothing is known, not even of its mode.
_DEFAULT_SECONDS = 1.0
_LEAST_SECONDS = 0.001


@dataclass(frozen=True)
class Durations:
    """Seconds by subject, case and mode. A task that is not listed takes what others of its mode do."""

    seconds: Mapping[Task, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: str | Path | None) -> Self:
        """The file's; without one those in the cache folder, else those that come with the harness. Raises BadInput."""
        if file is None:
            file = next((place for place in (cached_file(), _SHIPPED) if place.is_file()), None)
        if file is None:
            return cls()
        try:
            return cls(_seconds(json.loads(read_regular(Path(file)))))
        except OSError as error:
            raise BadInput(f"cannot read durations {file}: {error.strerror}; `harness merge` writes them") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BadInput(
                f"{file} holds no durations; expected a file that `harness merge --durations` wrote"
            ) from None

    def of(self, task: Task) -> float:
        """The seconds of a task: its own, else those of the case on another subject, else the median of the mode."""
        known = self.seconds.get(task)
        if known is None:
            known = self._by_case.get((task.case, task.mode), self._by_mode.get(task.mode, _DEFAULT_SECONDS))
        return max(known, _LEAST_SECONDS)

    @cached_property
    def _by_case(self) -> dict[tuple[str, str], float]:
        return {(task.case, task.mode): seconds for task, seconds in sorted(self.seconds.items(), reverse=True)}

    @cached_property
    def _by_mode(self) -> dict[str, float]:
        modes: dict[str, list[float]] = defaultdict(list)
        for task, seconds in self.seconds.items():
            modes[task.mode].append(seconds)
        return {mode: median(known) for mode, known in modes.items()}

    @property
    def hash(self) -> str:
        """A hash of them all: shards that were planned by different durations do not fit together."""
        return hashlib.sha256(self.to_json().encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def to_json(self) -> str:
        """The text of a file: subject, case and mode, each below the one before."""
        tree: dict[str, dict[str, dict[str, float]]] = {}
        for (subject, case, mode), seconds in sorted(self.seconds.items()):
            tree.setdefault(subject, {}).setdefault(case, {})[mode] = float(f"{seconds:.2g}")
        return json.dumps({"format": FORMAT, "seconds": tree}, indent=0, sort_keys=True) + "\n"

    def with_measured(self, measured: Iterable[tuple[Task, float]]) -> Self:
        """These and what was measured since."""
        return type(self)({**self.seconds, **dict(measured)})


def cached_file() -> Path:
    """The file in the cache folder. Only `harness merge --durations` writes it: no run may change another's shards."""
    return cache_root() / "durations.json"


def _seconds(data: Any) -> dict[Task, float]:
    if data["format"] != FORMAT:
        raise ValueError
    return {
        Task(subject, case, mode): float(seconds)
        for subject, cases in data["seconds"].items()
        for case, modes in cases.items()
        for mode, seconds in modes.items()
    }
