"""Runs a plan on teams of real ranks: one team at a time, since a team's processes work side by side."""

from collections.abc import Collection, Iterator
from dataclasses import replace

from harness.base.cache import require_writable
from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import ModeInfo
from harness.ranks.team import Team
from harness.workers.plan import Plan
from harness.workers.pool import runs_on_cuda

START = "harness.ranks.rank:start"


class RankJudge:
    """Judges the tasks of a plan, each on all ranks of a team. Close it, or use it in a ``with`` block."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.tasks = plan, plan.selection.tasks()
        self._indices = {(case.id, mode.name): index for index, (case, mode) in enumerate(self.tasks)}
        self._team: Team | None = None

    def judge(self, case: Case, mode: ModeInfo, subject: str = "") -> Verdict:
        """The verdict of a case of the plan; ``subject`` is the import path of another subject. Raises BadInput."""
        task = {"index": self._indices[case.id, mode.name], "subject": subject}
        from harness.ranks.together import Together  # imports torch, which a front end does not before it runs

        answers = self._team_of(case.tp).ask(task)
        return Together(
            answers, case, mode.name, self.plan.spec, "cuda" if runs_on_cuda(self.plan.device) else "cpu"
        ).verdict()

    def close(self) -> None:
        """Stop every process."""
        if self._team is not None:
            self._team.close()

    def __enter__(self) -> "RankJudge":
        require_writable()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _team_of(self, size: int) -> Team:
        if self._team is None or self._team.size != size:
            self.close()
            self._team = Team(replace(self.plan.job, start=START), size, self.plan.device)
        return self._team


class RanksRun:
    """A run of a plan on real ranks, with what ``PlanRun`` has. The cases of one size run together."""

    def __init__(self, plan: Plan, wanted: Collection[tuple[str, str]] | None = None) -> None:
        self.plan, self.tasks = plan, plan.selection.tasks()
        chosen = enumerate(self.tasks)
        self.wanted = [i for i, (case, mode) in chosen if wanted is None or (case.id, mode.name) in wanted]

    def __iter__(self) -> Iterator[Verdict]:
        """The verdicts, in the order of the plan within each number of ranks. Raises BadInput."""
        with RankJudge(self.plan) as ranks:
            for index in sorted(self.wanted, key=lambda index: self.tasks[index][0].tp):
                yield ranks.judge(*self.tasks[index])
