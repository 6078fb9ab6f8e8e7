"""Find an engine: the importable one (``vllm``), a release (``vllm==0.20.2``) or a source tree (``vllm@PATH``)."""

import sys
from dataclasses import dataclass
from pathlib import Path

from harness.engines.released.engine import Released
from harness.engines.released.environment import Report, python
from harness.engines.released.releases import checkout, tree
from harness.engines.sglang.released import SGLANG
from harness.engines.vllm.released import VLLM
from harness.matrix.selection import Selection
from harness.workers.plan import Plan
from harness.workers.pool import workers_for

ENGINES = {engine.name: engine for engine in (VLLM, SGLANG)}
BOOT = Path(__file__).parent / "boot.py"


@dataclass(frozen=True, slots=True)
class Target:
    """One engine to judge, by the name that ``--subject`` takes."""

    spec: str

    @property
    def engine(self) -> Released:
        """The engine that the name is of."""
        return ENGINES[self.spec.partition("@")[0].partition("==")[0]]

    @property
    def release(self) -> str:
        """The release's number; empty for a tree and the importable engine."""
        return self.spec.partition("==")[2] if not self.path else ""

    @property
    def path(self) -> str:
        """The source tree's path, or empty."""
        return self.spec.partition("@")[2]

    def find(self, report: Report) -> Path | None:
        """The folder of the sources, which are downloaded if they are missing; None for the importable engine. Raises BadInput."""
        if self.release:
            return tree(self.engine, self.release, report)
        return checkout(self.engine, self.path) if self.path else None

    def command(self, report: Report) -> tuple[str, ...]:
        """The command that starts a worker. Downloads and builds what is missing. Raises BadInput."""
        folder = self.find(report)
        if folder is None:
            return (sys.executable, "-P", str(BOOT))
        return (str(python(self.engine, report)), "-P", str(BOOT), str(folder))

    def plan(self, selection: Selection, workers: int, report: Report) -> Plan:
        """The plan that judges it, with ``workers`` workers, or one a core where that is 0. Raises BadInput.

        A worker has a process for each rank, and only some of its cases have two ranks.
        """
        command = self.command(report)
        engine, count = self.engine, workers_for(workers)
        subject, start = engine.subject, engine.start
        return Plan(
            selection,
            subject,
            self.spec,
            "cpu",
            count,
            bisect=True,
            start=start,
            command=command,
            imports=engine.imports,
        )


def target(spec: str, paths: "dict[str, str | None] | None" = None) -> Target | None:
    """The engine that a subject's name means, with the path of ``--vllm`` and the like; None for another subject."""
    for name in ENGINES:
        path = (paths or {}).get(name)
        if spec == name and path:
            return Target(f"{name}@{path}")
        if spec == name or spec.startswith((f"{name}==", f"{name}@")):
            return Target(spec)
    return None
