"""The ranks of SGLang's layer: those of every engine."""

from typing import Any

from harness.engines.released import ranks


def start(settings: dict[str, Any]) -> ranks.Answer:
    """In a worker: what one process answers, with more processes for cases with more ranks. Raises BadInput."""
    return ranks.start(settings, lambda answer, tasks: answer)
