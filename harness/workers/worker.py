"""The worker: a child process that does tasks. It reads one task per line and writes one answer per line, as JSON.

The job says what a task is; ``harness.workers.plan:start`` judges cases. A worker needs torch, the harness and what the job
imports, and nothing else, so it also runs inside an engine's environment.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any


def main() -> int:
    """Do the tasks on standard input until it ends. What a subject prints goes to standard error, not between the answers."""
    # On the level of file descriptors, since C code and child processes of a subject may print too.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve(sys.stdin, answers)
    return 0


def _serve(tasks: IO[str], answers: IO[str]) -> None:
    job = json.loads(tasks.readline())
    from harness.base.errors import BadInput

    try:
        answer = _started(job["start"], job["settings"])
    except BadInput as error:
        answers.write(json.dumps({"bad_input": str(error)}) + "\n")
        return
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in tasks:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")


def _started(start: str, settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Call ``module:function`` with the settings. It returns a function from a task to its answer."""
    module, _, name = start.partition(":")
    function: Callable[[Any], dict[str, Any]] = getattr(import_module(module), name)(settings)
    return function


if __name__ == "__main__":
    sys.exit(main())
