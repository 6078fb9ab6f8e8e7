"""The worker: a child process that judges cases. It reads one task a line and answers one verdict a line, all JSON.

It needs torch, the harness and the subject, nothing else, so it also runs inside somebody else's environment.
"""

import contextlib
import json
import os
import sys
from typing import IO, Any


def main() -> int:
    """Serve tasks from standard input until it ends. What a subject prints goes to standard error, not into answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve(sys.stdin, answers)
    return 0


def _serve(tasks: IO[str], answers: IO[str]) -> None:
    settings = json.loads(tasks.readline())
    from harness.errors import BadInput

    try:
        judge = _judge(settings)
    except BadInput as error:
        answers.write(json.dumps({"bad_input": str(error)}) + "\n")
        return
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in tasks:
        answers.write(json.dumps(judge(json.loads(line))) + "\n")


def _judge(settings: dict[str, Any]) -> Any:
    """A function from the index of a task, a case in a mode, to the verdict's JSON form."""
    import torch

    from harness.device import choose_device
    from harness.judge import judge
    from harness.matrix import Selection
    from harness.subject import load_subject

    torch.set_num_threads(settings["threads"])
    tasks = Selection(**{name: _tuple(value) for name, value in settings["selection"].items()}).tasks()
    subject = load_subject(settings["subject"], settings["path"])
    device = choose_device(settings["device"])

    def answer(index: int) -> dict[str, Any]:
        return judge(subject, *tasks[index], device, settings["spec"]).to_json()

    return answer


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
