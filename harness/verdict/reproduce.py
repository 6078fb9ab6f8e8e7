"""The command that reproduces a verdict."""

import re
import shlex

from harness.base.errors import BadInput
from harness.base.project import DEFAULT_SUBJECT, find
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE, PROOF, VARIED
from harness.matrix.ranks import REAL

_OF_AN_ENGINE = re.compile(r" --subject '?(?:vllm|sglang)(?:[=@]\S*)?'?(?: |$)")


def reproduce(case: Case, mode: str, subject: str, device: str, vary: tuple[str, ...] = ()) -> str:
    """A command line that judges exactly this case in this mode, and runs these variations alone if there are any."""
    if mode == PROOF.name and not case.shape.source:
        return _prove(case, subject)
    parts = [
        "harness check",
        f"--models {case.model}",
        f"--modes {EVERY_MODE[mode].exact}",
        f"--rules {case.alignment.name}",
    ]
    parts += [f"--kernels {case.kernel}", f"--tp {case.tp}", f"--tokens {case.tokens}"]
    if case.collective:
        parts.append(f"--ranks {REAL} --collectives {case.collective}")
    if case.overridden or (EVERY_MODE[mode].family == VARIED and not case.small_of):
        parts.append(f"--hidden {case.hidden}")
    if case.shape.source:
        parts.append(f"--models-file {shlex.quote(case.shape.source)}")
    if case.full:
        parts.append("--full")
    if vary:
        parts.append(f"--vary {','.join(vary)}")
    parts += _subject(subject)
    if device != "cpu":
        parts.append(f"--device {device}")
    return " ".join(parts)


def script_command(command: str) -> str:
    """The command that writes a small script of what ``command`` reproduces; empty where there is none.

    An engine's layer runs in an environment of its own, with its own loader: no script has one. Nor has real ranks' case,
    which needs several processes.
    """
    if f"--ranks {REAL}" in command:
        return ""
    check, prove = "harness check ", "harness prove "
    if _OF_AN_ENGINE.search(command):
        return ""
    if command.startswith(check):
        return f"harness repro {command.removeprefix(check)}"
    return f"harness repro --modes {PROOF.name} {command.removeprefix(prove)}" if command.startswith(prove) else ""


def _prove(case: Case, subject: str) -> str:
    parts = [f"harness prove --models {case.model} --rules {case.alignment.name}"]
    parts += [f"--kernels {case.kernel} --tp {case.tp}"]
    return " ".join([*parts, *_subject(subject)])


def _subject(name: str) -> list[str]:
    """The option, left out where the command judges the in-tree layer without it."""
    return [] if name == DEFAULT_SUBJECT == _default() else [f"--subject {shlex.quote(name)}"]


def _default() -> str:
    try:
        return find().default
    except BadInput:  # a table of somebody else's, around the current folder and not around the tests
        return ""
