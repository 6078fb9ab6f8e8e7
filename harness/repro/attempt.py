"""Attempts: scripts of one symptom, the most self-contained first; the first that shows it in a fresh process is taken."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.repro.about import About
from harness.repro.process import difference, run_script
from harness.repro.writing.parts import Parts
from harness.repro.writing.script import scripts


@dataclass(frozen=True, slots=True)
class Attempt:
    """A script, whether it reproduced the symptom, and if not, why."""

    script: str
    reproduced: bool
    reason: str = ""
    standalone: bool = False
    needs: str = "torch"
    raises: bool = False


def attempts(about: About, parts: Iterable[Parts], folder: Path, seconds: float) -> Iterator[Attempt]:
    """Every script and its end."""
    for part in parts:
        for text in scripts(about, part):
            ended = run_script(text, None if part.standalone else folder, seconds)
            reason = difference(ended, about.symptom)
            yield Attempt(text, not reason, reason, part.standalone, part.needs, bool(about.symptom.error))


def reproduce_in_script(about: About, parts: Iterable[Parts], folder: Path, seconds: float) -> Attempt:
    """The first attempt that reproduced, else the last one; ``parts`` holds at least one that makes a script."""
    last = None
    for attempt in attempts(about, parts, folder, seconds):
        if attempt.reproduced:
            return attempt
        last = attempt
    assert last is not None
    return last
