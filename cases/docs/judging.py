"""``harness check`` of one page's example, judged in this process: what it finds, as the command would show it."""

import argparse
import shlex
from collections.abc import Iterator

import torch

from fixtures.imports import ROOT
from harness.base.project import find
from harness.commands import check
from harness.findings.finding import Finding, Verdict
from harness.output.report import finding_text
from harness.subjects.load import load_subject
from harness.verdict.bisect import name_blame
from harness.verdict.judge import judge
from harness.verdict.waivers import Waivers

# The command of the example says both.
_LEFT_OUT = ("  case  ", "  reproduce  ")


def findings(command: str) -> Iterator[tuple[Verdict, Finding]]:
    """Every finding of a ``harness check`` command, with the verdict that it belongs to."""
    parser = argparse.ArgumentParser()
    check.arguments(parser)
    chosen = parser.parse_args(shlex.split(command)[2:])
    project, device = find(ROOT), torch.device("cpu")
    subject = load_subject(project.subject(chosen.subject), project.path)
    waivers = Waivers.read(chosen.waivers or project.waivers)
    for case, mode in check.selected(chosen).tasks():
        verdict = judge(subject, case, mode, device, chosen.subject)
        verdict = waivers.apply(name_blame(verdict, subject, case, mode, device))
        yield from ((verdict, finding) for finding in verdict.findings if not finding.waiver)


def example(command: str, kind: str) -> str:
    """The text of the first finding of this kind, without the lines that repeat the command."""
    text = next((finding_text(*pair) for pair in findings(command) if pair[1].kind == kind), "")
    return "\n".join(line for line in text.splitlines() if not line.startswith(_LEFT_OUT))
