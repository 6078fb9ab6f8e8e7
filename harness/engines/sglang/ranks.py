"""The ranks of SGLang's layer: those of every engine."""

from typing import Any

from harness.engines.released import ranks


def start(settings: dict[str, Any]) -> ranks.Answer:
    """In a worker: what one process answers, with more processes for cases with more ranks. Raises BadInput.

    SGLang's layers read the number of ranks from the process's configuration, so a case of one rank needs another process.
    """
    return ranks.start(settings, lambda answer, tasks: answer, apart=True)
