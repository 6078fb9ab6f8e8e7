"""Further: what `harness prove` asks of workers beside the verdicts: obligations, and exhaustive runs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from harness.execution.pinned import pinned
from harness.proof.exhaustive import compare
from harness.proof.obligations import must_hold
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.pieces import Unknown
from harness.workers.plan import chosen


def start(settings: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    """In a worker: from the index of a task to its obligations (``largest`` 0), or to a comparison with real runs."""
    tasks, subject, _ = chosen(settings)
    largest: int = settings["largest"]

    def answer(index: int) -> dict[str, Any]:
        case = tasks[index][0]
        try:
            with pinned():
                return asdict(compare(subject, case, largest)) if largest else {"must": must_hold(subject, case)}
        except (NotProvable, Unknown) as error:
            return {"reason": str(error)}

    return answer
