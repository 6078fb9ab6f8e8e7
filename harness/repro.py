"""The one command that runs a case again."""

import shlex

from harness.case import Case


def again(case: Case, mode: str, subject: str, device: str) -> str:
    """A command line that judges exactly this case in this mode."""
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


def _exact(mode: str) -> str:
    return f"{mode}-static" if mode in ("compiled", "fake") else mode
