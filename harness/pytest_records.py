"""The records of a pytest session, and its annotations under GitHub Actions. xdist's controller writes them, not its workers."""

import json
import os
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.base.errors import BadInput
from harness.pytest_session import PREFIX, Session, prefixed
from harness.runs.planned import Planned, Task
from harness.runs.shards import Shard

if TYPE_CHECKING:
    from harness.findings.finding import Verdict
    from harness.output.recording import Recording
    from harness.runs.header import RunHeader
    from harness.runs.results import Result

# What a report carries from the process that ran the test; pytest-xdist sends every attribute that is plain data.
ATTRIBUTE = "harness_record"


def wanted(config: pytest.Config) -> bool:
    """Whether this process writes records: it is no worker, and the option or GitHub asks for them."""
    asked = config.getoption(f"{PREFIX}_json") or os.environ.get("GITHUB_ACTIONS") == "true"
    return bool(asked) and not hasattr(config, "workerinput") and not config.option.collectonly


def attach(report: pytest.TestReport, verdict: "Verdict") -> None:
    """Put a verdict on the report of its test."""
    setattr(report, ATTRIBUTE, json.dumps(verdict.to_json()))


class SessionRecords:
    """A plugin of one session: its hooks write the run as it goes on. A session that judges nothing writes nothing."""

    def __init__(self, session: Session) -> None:
        self._session, self._file = session, session.noted["json"]
        self._recording: Recording | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Begin with what was collected in this process."""
        params = [vars(item)["callspec"].params for item in session.items if "callspec" in vars(item)]
        chosen = [(one["padding_case"], one["mode"]) for one in params if {"padding_case", "mode"} <= one.keys()]
        self._begin([self._session.task(case, mode) for case, mode in chosen])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Begin with what the first worker collected: every worker collects the same."""
        texts = [one.rpartition("[")[2].partition("]")[0] for one in ids if "[" in one]
        if texts and self._recording is None:
            named = self._session.named()
            self._begin([named[text] for text in texts if text in named])

    def _begin(self, tasks: list[Task]) -> None:
        if not tasks:
            return
        from harness.output.recording import Recording
        from harness.runs.header import PYTEST, RunHeader

        session, own = self._session, frozenset(tasks)
        matrix = session.matrix if session.matrix.of(session.shard.index) == own else _alone(own, session.shard)
        durations = session.durations.hash if session.shard.of > 1 else ""
        header = RunHeader.new(PYTEST, matrix, session.shard, session.noted["runner"], durations)
        command = " ".join(["pytest", *map(shlex.quote, sys.argv[1:])])
        try:
            recording = Recording(replace(header, command=command), self._file, finish=_annotate)
            self._recording = recording.__enter__()
        except BadInput as error:
            pytest.exit(f"harness: {prefixed(str(error))}", returncode=2)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the verdict that a report carries."""
        record = vars(report).get(ATTRIBUTE)
        if record is not None and self._recording is not None:
            self._recording.add(json.loads(record))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        """End the records, and annotate; each annotation must begin its line."""
        if self._recording is None:
            return
        terminalreporter.ensure_newline()
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        self._recording.__exit__(KeyboardInterrupt if interrupted else None, None, None)
        if self._file is not None:
            terminalreporter.write_line(f"harness: records in {self._file}")


def _alone(own: frozenset[Task], shard: Shard) -> Planned:
    """A plan of this shard's tests alone: ``-k`` chose some, and which ones of other shards it chooses is not known here."""
    return Planned(dict.fromkeys(sorted(own), shard.index))


def _annotate(results: "list[Result]", header: "RunHeader") -> None:
    from harness.output.formats.writing import write

    write([], results, header)
