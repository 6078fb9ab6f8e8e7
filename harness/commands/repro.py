"""``harness repro``: from a failing case to a small script that fails the same way."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.base.errors import BadInput, unknown
from harness.base.project import find_or_in_tree
from harness.commands.reproducing.choice import Choice, choice
from harness.commands.reproducing.options import ABOUT, arguments
from harness.engines.released.targets import target
from harness.findings.kinds import KINDS
from harness.output.terminal import StatusLine

if TYPE_CHECKING:
    from harness.repro.reproduction import Reproduction
    from harness.repro.target import Target

__all__ = ["ABOUT", "arguments", "run"]


def run(chosen: argparse.Namespace) -> int:
    """Write the script; 0 reproduced, 1 not. Raises BadInput."""
    if chosen.kind and chosen.kind not in KINDS:
        raise unknown("kind of finding", chosen.kind, KINDS, listed=False)
    found = choice(chosen)
    chosen = found.options
    from harness.repro.repro import reproduced

    with StatusLine(lines=False) as report:
        done = None
        for one in _targets(found):
            done = reproduced(one, chosen.kind, chosen.shrink, chosen.seconds, report)
            if done.attempt is not None:
                break
    assert done is not None
    _give(done, chosen)
    for line in _notes(done):
        print(f"harness: {line}", file=sys.stderr)
    return 0 if done.reproduced else 1


def _notes(done: "Reproduction") -> list[str]:
    lines = [done.outcome]
    if done.shrunk is not None:
        bound = ", stopped there" if done.shrunk.stopped else ""
        lines.insert(0, f"shrunk in {done.shrunk.evaluations} evaluations{bound}: {'; '.join(done.phrases)}")
    return lines


def _give(done: "Reproduction", chosen: argparse.Namespace) -> None:
    """Print the script, or write it. Raises BadInput where the file cannot be written."""
    text = done.attempt.script if done.attempt else ""
    if chosen.issue and done.attempt:
        from harness.repro.issue import issue

        text = issue(done)
    if chosen.output and text:
        try:
            Path(chosen.output).write_text(text, "utf-8")
        except OSError as error:
            raise BadInput(
                f"cannot write -o {chosen.output}: {error.strerror}; give a path in a folder that exists"
            ) from None
    if chosen.json:
        print(json.dumps(done.to_json() | ({"file": chosen.output} if chosen.output else {})))
    elif text and not chosen.output:
        print(text, end="")


def _targets(found: Choice) -> "list[Target]":
    """What is tried, one target for each case and mode. Raises BadInput."""
    chosen = found.options
    project = find_or_in_tree(chosen.subject)
    name = chosen.subject or project.default
    engine = None if name in project.subjects else target(name)
    if engine is not None:
        title = engine.engine.title
        raise BadInput(
            f"--subject {name}: there is no script for {title}'s layer, which needs {title}'s own loader and ranks; "
            f"`harness {engine.engine.name} --help` judges a release or a checkout, and `harness explain` draws its widths"
        )
    from harness.execution.device import choose_device
    from harness.repro.target import Target
    from harness.subjects.load import load_subject

    spec = project.subject(name)
    subject = load_subject(spec, project.path)
    device = choose_device(chosen.device)
    if not found.tasks:
        raise BadInput("no case matches; give the id of a case, or options that `harness check` judges something with")
    return [Target(subject, name, spec, case, mode, device, project.root) for case, mode in found.tasks]
