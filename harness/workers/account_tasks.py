"""The task of `harness explain` in an engine's own environment: the account of one case, as data."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from harness.base.errors import DeviceLost, Skip
from harness.base.exception_text import raised_text
from harness.findings.finding import ERROR, SKIPPED
from harness.verdict.reproduce import reproduce
from harness.workers.plan import Plan, load_plan
from harness.workers.process import Job

START = "harness.workers.account_tasks:start"


def job(plan: Plan, case_id: str) -> Job:
    """The job whose task 0 is the account of a case, on the plan's subject in its environment."""
    return replace(plan.job, settings=plan.job.settings | {"case": case_id, "answers": START})


def start(settings: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    """In a worker: returns a function from a task's index to the account of its case, or to the reason why there is none."""
    from harness.account.build import account  # these import torch
    from harness.execution.rig import BuildFailed

    tasks, subject, device = load_plan(settings)
    spec = settings["spec"]

    def answer(index: int) -> dict[str, Any]:
        case = tasks[index][0]
        try:
            found = account(subject, case, device.type, spec, reproduce(case, "eager", spec, device.type))
        except BuildFailed as error:
            return {"status": ERROR, "reason": f"the layer cannot be built: {raised_text(error.__cause__ or error)}"}
        except (Skip, DeviceLost) as error:
            return {"status": SKIPPED, "reason": f"it cannot be run here: {error}"}
        return {"status": found.verdict, "account": asdict(found)}

    return answer
