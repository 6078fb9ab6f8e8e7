"""Find a vLLM: the importable one (``vllm``), a release (``vllm==0.20.2``) or a source tree (``vllm@PATH``)."""

import sys
from dataclasses import dataclass
from pathlib import Path

from harness.engines.vllm.environment import Report, python
from harness.engines.vllm.releases import checkout, tree
from harness.matrix.selection import Selection
from harness.workers.plan import Plan

NAME = "vllm"
SUBJECT = "harness.engines.vllm.subject:VllmLayer"
START = "harness.engines.vllm.ranks:start"
_BOOT = Path(__file__).parent / "boot.py"


@dataclass(frozen=True, slots=True)
class Target:
    """One vLLM to judge, by the name that ``--subject`` takes."""

    spec: str

    @property
    def release(self) -> str:
        """The release's number; empty for a tree and the importable vLLM."""
        return self.spec.partition("==")[2]

    @property
    def path(self) -> str:
        """The source tree's path, or empty."""
        return self.spec.partition("@")[2]

    def find(self, report: Report) -> Path | None:
        """The folder of the sources, which are downloaded if they are missing; None for the importable vLLM. Raises BadInput."""
        if self.release:
            return tree(self.release, report)
        return checkout(self.path) if self.path else None

    def command(self, report: Report) -> tuple[str, ...]:
        """The command that starts a worker. Downloads and builds what is missing. Raises BadInput."""
        folder = self.find(report)
        if folder is None:
            return (sys.executable, "-P", str(_BOOT))
        return (str(python(report)), "-P", str(_BOOT), str(folder))

    def plan(self, selection: Selection, workers: int, report: Report) -> Plan:
        """The plan that judges it. A worker with two ranks has two processes. Raises BadInput."""
        command = self.command(report)
        return Plan(selection, SUBJECT, self.spec, "cpu", workers, bisect=True, start=START, command=command)


def target(spec: str, path: str | None = None) -> Target | None:
    """The vLLM that a subject's name and ``--vllm PATH`` mean; None for another subject."""
    if spec == NAME and path:
        return Target(f"{NAME}@{path}")
    return Target(spec) if spec == NAME or spec.startswith((f"{NAME}==", f"{NAME}@")) else None
