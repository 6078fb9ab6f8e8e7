"""Which failure is a process's copy of what another one raised: an engine core that prints its worker's error."""

import re

from harness.diagnosis.log.failures import Failure

# What an engine says of a worker's error, and Ray of a task's: whoever prints it was told of it.
_TOLD = re.compile(r"\bWorker(?:Proc)?\b[^'\"]{0,40} failed with error|\bRayTaskError\b|\bray::\w")
# Frames of an engine that asks its workers, or of the workers themselves: in an engine's text the error came of them.
_ASKED = re.compile(r", in (?:get_response|worker_busy_loop|worker_main)\b")
_ENGINE = re.compile(r"(?:DP)?Engine_?Core|APIServer|AsyncLLM", re.I)


def is_copy(failure: Failure) -> bool:
    """Whether the text shows that the process which wrote it was told of the failure by another."""
    told = any(_TOLD.search(line.text) for line in failure.lines)
    engine = bool(_ENGINE.match(failure.writer.lstrip("(")))
    return told or (engine and any(_ASKED.search(line.text) for line in failure.lines))
