"""A script in a fresh process, and whether it ended with the symptom."""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.repro.symptom import Symptom

# As it was before any layer was judged here: a layer may change it, and that is a finding.
_ENVIRONMENT = dict(os.environ)
_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?::\s|:?$)")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended: the class of its exception, empty where it raised none, the exception's text, and the signal."""

    error: str
    text: str
    reason: str = ""


def run_script(text: str, folder: Path | None, seconds: float) -> Ended:
    """Run a script in a process of its own: in ``folder``, or in an empty one that no project can be imported from."""
    with tempfile.TemporaryDirectory() as empty:
        file = Path(empty, "repro.py")
        file.write_text(text, "utf-8")
        isolated = [] if folder else ["-I"]  # no PYTHONPATH, and not the script's folder
        command = [sys.executable, *isolated, str(file)]
        try:
            done = subprocess.run(
                command, cwd=folder or empty, env=_ENVIRONMENT, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return Ended("", "", f"it did not end in {seconds:.0f} s")
    if done.returncode < 0:
        return Ended("", done.stderr, f"its process was killed by signal {-done.returncode}")
    return Ended(*last_error(done.stderr)) if done.returncode else Ended("", "")


def last_error(stderr: str) -> tuple[str, str]:
    """Class and text of the exception that ended a process; two empty texts where there is none."""
    *_, last = ["", *stderr.split(_TRACEBACK)]
    lines = last.split("\n")
    for number, line in enumerate(lines):
        if match := _RAISED.match(line):
            return match[1], "\n".join(lines[number:])
    return "", stderr


def difference(ended: Ended, symptom: Symptom) -> str:
    """Why an end is not the symptom, in words; empty where it is."""
    if ended.reason:
        return ended.reason
    if not ended.error:
        return "the script ended without an error"
    if ended.error != symptom.expected:
        return f"it raised {ended.error} in place of {symptom.expected}: {ended.text.splitlines()[0][:200]}"
    if not symptom.error and f"{symptom.finding.kind}:" not in ended.text:
        return f"another check failed: {ended.text.splitlines()[0][:200]}"
    if not symptom.error and "nan" in ended.text.splitlines()[0] and "NaN" not in symptom.finding.what:
        return "the output holds NaN, where the finding is of other wrong values"
    if absent := [str(width) for width in symptom.widths if symptom.error and str(width) not in ended.text]:
        return f"its error does not name {', '.join(absent)}"
    return ""
