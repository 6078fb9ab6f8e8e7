"""A rank's side of a team: it joins the process group, and judges each task with its own shard."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from harness.base.quiet import quiet_until_exit
from harness.execution.evidence import Run
from harness.execution.ranks.collective_log import listen
from harness.execution.ranks.group import Place
from harness.findings.finding import SKIPPED, Verdict
from harness.matrix.case import Case
from harness.ranks.shares import Shares
from harness.subjects.load import load_subject
from harness.verdict.judge import judge
from harness.workers.importing import importing
from harness.workers.plan import FIRST_COMPILE_SECONDS, plan_tasks
from harness.workers.worker import begin, note


def start(settings: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """In a worker: returns a function from a task to this rank's answer. Raises BadInput.

    A task is an ``index`` into the plan, and with ``subject`` the import path of another subject than the plan's.
    """
    place, tasks = Place.of(settings["place"]), plan_tasks(settings)
    torch.set_num_threads(settings["threads"])
    problem = place.problem
    device = torch.device("cpu") if problem else place.join()
    subject_at = lru_cache(maxsize=None)(lambda spec: load_subject(spec, settings["path"]))
    with importing(f"subject {settings['subject']!r}"):
        subject_at(settings["subject"])
    quiet_until_exit()
    listen(note)

    def answer(task: dict[str, Any]) -> dict[str, Any]:
        case, mode = tasks[task["index"]]
        if problem:
            return {"verdict": _skipped(settings["spec"], case, mode.name, problem), "wrong": {}, "raised": False}
        if mode.name == "compiled":
            begin(settings["seconds"] + FIRST_COMPILE_SECONDS)
        runs: list[Run] = []
        subject = subject_at(task.get("subject") or settings["subject"])
        verdict = judge(subject, replace(case, rank=place.rank), mode, device, settings["spec"], runs)
        shares = Shares(subject, case, place.rank)
        calls = runs[0].calls if runs else []
        raised = any(call.error for call in calls) or (not runs and verdict.status != SKIPPED)
        return {"verdict": verdict.to_json(), "wrong": shares.of(calls), "raised": raised}

    return answer


def _skipped(spec: str, case: Case, mode: str, reason: str) -> dict[str, Any]:
    return Verdict.of(spec, case, mode, SKIPPED, reason=reason).to_json()
