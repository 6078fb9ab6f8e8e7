"""A run as it is recorded: its first line, its results as they come, its last line."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from harness.base.errors import BadInput
from harness.output.records import Records
from harness.runs import environment as here
from harness.runs.earlier import Earlier
from harness.runs.header import RunHeader, now, stamp
from harness.runs.planned import Task
from harness.runs.results import REFUSED, VERDICT, Result, result


class Recording:
    """Writes the records of a run, a context manager. Without a path nothing is written; ``-`` is standard output.

    ``earlier`` is what the run had done before it was killed: the file is then appended to. ``results`` holds every
    result so far, those before included, and ``refused`` the reason of each subject that could not be judged at all.
    ``finish`` gets the results at the end, also after Ctrl-C.
    """

    def __init__(
        self,
        header: RunHeader,
        path: str | None,
        earlier: Earlier | None = None,
        finish: Callable[[list[Result], RunHeader], None] = lambda results, header: None,
    ) -> None:
        self.header = earlier.header if earlier else header
        self.results: dict[Task, Result] = dict(earlier.results) if earlier else {}
        self.refused: dict[str, str] = {}
        self._header, self._resumed = header, earlier is not None
        self._records = Records(path, resume=self._resumed)
        self._start, self._finish = time.monotonic(), finish

    def __enter__(self) -> Self:
        self._records.__enter__()
        try:
            self._records.write(self._first())
        except BadInput:
            self._records.__exit__()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        with suppress(BadInput):  # a full disk, which has been reported
            self._records.write(self._last(interrupted=kind is not None))
        self._records.__exit__(kind, error, trace)
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self._finish(list(self.results.values()), self.header)

    @property
    def todo(self) -> frozenset[Task]:
        """What this shard has still to do."""
        return self.header.tasks - self.results.keys()

    def add(self, record: dict[str, Any], kind: str = VERDICT) -> None:
        """Write one result. Raises BadInput if that is impossible."""
        began = stamp(time.time() - float(record.get("seconds") or 0.0))
        line = {"record": kind, "run": self.header.run, "started": began, **record}
        one = result(line)
        line.setdefault("fingerprint", one.task.fingerprint)
        self._records.write(line)
        self.results[one.task] = one

    def refuse(self, subject: str, reason: str) -> None:
        """Write that nothing of a subject could be judged."""
        self.refused[subject] = reason
        line = {"record": REFUSED, "run": self.header.run, "subject": subject, "status": "error", "reason": reason}
        self._records.write(line)

    def _first(self) -> dict[str, Any]:
        if not self._resumed:
            return self.header.to_json()
        about = {name: getattr(self._header, name) for name in ("command", "machine", "environment")}
        return {"record": "resume", "run": self.header.run, "started": now(), **about}

    def _last(self, interrupted: bool) -> dict[str, Any]:
        counts = Counter(one.status for one in self.results.values())
        seconds = round(time.monotonic() - self._start, 3)
        about = {"finished": now(), "seconds": seconds, "counts": dict(counts), "interrupted": interrupted}
        return {"record": "end", "run": self.header.run, **about}


def changed_environment(earlier: Earlier) -> list[str]:
    """What is not here as it was when the run began: ``torch 2.12.0 then, 2.13.0 now``."""
    then, today = earlier.header.environment, here.environment()
    return [
        f"{name} {then.get(name) or 'none'} then, {value or 'none'} now"
        for name, value in today.items()
        if then.get(name, "") != value
    ]
