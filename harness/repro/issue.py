"""A bug report in Markdown: what happens, the script, what was expected, the environment; nothing private."""

import platform
import sys

import torch

from harness.base.printable import printable
from harness.repro.private import without_private
from harness.repro.reproduction import Reproduction


def issue(done: Reproduction) -> str:
    """The report. Paths are shortened, and the names of the host and the user are left out."""
    finding, attempt = done.finding, done.attempt
    assert finding is not None
    assert attempt is not None
    what = [f"**{finding.kind}** at {finding.stage}, mode `{done.verdict.mode}`: {finding.what}", "", finding.cause]
    parts = [
        f"# {finding.kind} at {finding.stage}: {done.verdict.model}, {done.verdict.mode}",
        *("## What happens", "\n".join(what)),
        *(
            "## Script",
            f"{done.outcome[0].upper()}{done.outcome[1:]}. It needs {attempt.needs}.",
            _fenced(attempt.script, "python"),
        ),
        *("## Expected", _expected(done)),
        *("## Command", _fenced(done.verdict.reproduce, "console")),
        *("## Environment", _environment(done)),
    ]
    if done.phrases:
        parts[3:3] = ["## What matters", "\n".join(f"- {phrase}" for phrase in done.phrases)]
    if finding.similar_to:
        parts += ["## Similar", "\n".join(f"- {bug}" for bug in finding.similar_to)]
    return without_private(printable("\n\n".join(parts)) + "\n")


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _expected(done: Reproduction) -> str:
    case = done.case
    assert case is not None
    tokens, hidden = case.tokens, case.hidden
    return (
        f"The layer returns a contiguous {case.dtype} tensor [{tokens}, {hidden}] that agrees with the fp32 reference, "
        "and the script ends without an error."
    )


def _environment(done: Reproduction) -> str:
    versions = {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}
    versions |= {"torch": torch.__version__, "device": done.verdict.environment.get("device", "cpu")}
    return "\n".join(f"- {name} {value}" for name, value in versions.items())
