"""The one command that runs a case again."""

import shlex

from harness.matrix.case import Case
from harness.matrix.modes import PROOF


def reproduce(case: Case, mode: str, subject: str, device: str) -> str:
    """A command line that judges exactly this case in this mode."""
    if mode == PROOF.name and not case.shape.source:
        return _prove(case, subject)
    parts = ["harness check", f"--models {case.model}", f"--modes {_exact(mode)}", f"--rules {case.alignment.name}"]
    parts += [f"--kernels {case.kernel}", f"--tp {case.tp}", f"--tokens {case.tokens}"]
    if case.overridden:
        parts.append(f"--hidden {case.hidden}")
    if case.shape.source:
        parts.append(f"--models-file {shlex.quote(case.shape.source)}")
    if case.full:
        parts.append("--full")
    if subject != "in-tree":
        parts.append(f"--subject {shlex.quote(subject)}")
    if device != "cpu":
        parts.append(f"--device {device}")
    return " ".join(parts)


def _prove(case: Case, subject: str) -> str:
    parts = [
        f"harness prove --models {case.model} --rules {case.alignment.name} --kernels {case.kernel} --tp {case.tp}"
    ]
    return " ".join(parts + ([f"--subject {shlex.quote(subject)}"] if subject != "in-tree" else []))


def _exact(mode: str) -> str:
    return f"{mode}-static" if mode in ("compiled", "fake", "cudagraph") else mode
