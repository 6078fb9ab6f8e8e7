"""The tasks of `harness prove` besides verdicts: list the obligations of a proof, and compare it with exhaustive runs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from harness.execution.pinned import pinned
from harness.proof.exhaustive import compare
from harness.proof.obligations import must_hold
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.structures import UnknownStructure
from harness.workers.plan import load_plan


def start(settings: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    """In a worker: returns a function from a task's index to its obligations, or with ``largest`` to a comparison with real runs."""
    tasks, subject, _ = load_plan(settings)
    largest: int = settings["largest"]

    def answer(index: int) -> dict[str, Any]:
        case = tasks[index][0]
        try:
            with pinned():
                return asdict(compare(subject, case, largest)) if largest else {"must": must_hold(subject, case)}
        except (NotProvable, UnknownStructure) as error:
            return {"reason": str(error)}

    return answer
