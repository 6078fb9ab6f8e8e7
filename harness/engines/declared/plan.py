"""The audit of one engine. One worker captures its declarations, then the general audit makes the rows of each op."""

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.audit.plan import KINDS, AuditRun, Plan
from harness.audit.row import BREAKS, HOLDS, NOT_RUN, SURVEY, Row
from harness.base.errors import BadInput, nearest
from harness.engines.declared.engine import Engine
from harness.engines.declared.rows import AUDITED, COUNT, FAKE, OPAQUE, from_declaration, named_sample, side
from harness.engines.declared.source.scan import SPACE
from harness.engines.declared.source.sites import Site
from harness.workers.pool import Pool
from harness.workers.process import Job

_CAPTURE_SECONDS = 600.0


@dataclass(frozen=True)
class _Plan(Plan):
    """A plan of the audit whose reproducing commands name the engine, and whose workers run in its environment."""

    site: str = ""
    engine: str = ""

    def reproduce(self, op: str, row: str, variant: str = "") -> str:
        """A command that reproduces this row."""
        return reproduce(self.engine, self.site, op.partition("::")[2], row)


def reproduce(engine: str, site: str, op: str, row: str) -> str:
    """A command that reproduces one row of one op of one engine."""
    rows = f" --rows {shlex.quote(row)}" if row != SURVEY else ""
    return f"harness audit {engine} {op} --versions {shlex.quote(site)}{rows}"


@dataclass
class DeclaredAudit:
    """The audit of one engine. ``ops`` are names or patterns, ``rows`` names; empty means all.

    ``command`` starts a worker in the engine's environment; empty means this Python.
    """

    engine: Engine
    site: Site
    ops: Sequence[str]
    rows: Sequence[str]
    folder: str
    path: tuple[str, ...]
    workers: int
    seconds: float
    command: tuple[str, ...] = ()
    declarations: list[dict[str, Any]] = field(default_factory=list)

    def declare(self) -> int:
        """Capture its declarations; returns the number of rows that will come. Raises BadInput."""
        settings = {"path": self._path, "engine": self.engine.name}
        job = Job("harness.engines.declared.worker:start", settings, _CAPTURE_SECONDS, self.command)
        (reply,) = list(Pool(job, [[list(self.ops)]], 1))
        if reply.answer is None:
            raise BadInput(f"capturing {self.engine.title} {self.site.version} ended the process ({reply.died})")
        self.declarations = reply.answer["ops"]
        if self.ops and not self.declarations:
            near = nearest(self.ops[0], reply.answer["names"])
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise BadInput(f"{self.engine.title} {self.site.version} declares no op {self.ops[0]!r}{hint}")
        return len(self.named())

    def named(self) -> list[tuple[str, str]]:
        """The (op, row) of every row that will come, once the declarations are captured."""
        declared = [(row.op, row.row) for row in self._declared()]
        audited = [
            (one["op"], row)
            for opaque in (False, True)
            for one in self._audited(opaque)
            for row in (SURVEY, *self._wanted(opaque))
        ]
        return list(dict.fromkeys(declared + audited))

    def only(self, ops: Collection[str]) -> None:
        """Leave out the other ops."""
        self.declarations = [declared for declared in self.declarations if declared["op"] in ops]

    @property
    def _path(self) -> tuple[str, ...]:
        return (*self.site.path, *self.path)

    def _audited(self, opaque: bool) -> list[dict[str, Any]]:
        """The declarations that the general audit looks at, those whose kernel makes their outputs or the others."""
        ops = [one for one in self.declarations if one["auditable"] and one["samples"] and one["opaque"] == opaque]
        return ops if self._wanted(opaque) else []

    def _wanted(self, opaque: bool) -> tuple[str, ...]:
        return tuple(row for row in (OPAQUE if opaque else AUDITED) if not self.rows or row in self.rows)

    def __iter__(self) -> Iterator[Row]:
        """The rows as they come. Raises BadInput if a worker cannot start."""
        yield from self._declared()
        for opaque in (False, True):
            if self._audited(opaque):
                yield from self._rows(opaque)

    def _rows(self, opaque: bool) -> Iterator[Row]:
        known = {declared["key"]: declared for declared in self._audited(opaque)}
        plan = _Plan(
            ops=tuple(f"{SPACE}::{key}" for key in known),
            modules=(f"harness.engines.declared.captured.{self.engine.name}",),
            samples=tuple(f"harness.engines.declared.samples.table:{key}" for key in known),
            device="cpu", rows=self._wanted(opaque), variant="as given", path=self._path, folder=self.folder,
            workers=self.workers, seconds=self.seconds, site=self.site.named, kinds=KINDS[:1],
            engine=self.engine.name, command=self.command,
        )  # fmt: skip
        refused: set[str] = set()
        for row in AuditRun(plan):
            if row.row == SURVEY and row.status != HOLDS:
                refused.add(row.op)
            if (
                row.op in refused and row.status == BREAKS
            ):  # of arguments that the body refuses, its fake may say anything
                row = replace(row, status=NOT_RUN, what="the op refuses every sample", variant="")
            declared = known[row.op.partition("::")[2]]
            if row.row == FAKE and not declared["fake"]:
                continue  # the declaration has already given this row
            label = named_sample(row.variant, declared["samples"])
            notes = (*row.notes, *side(declared))
            command = reproduce(self.engine.name, self.site.named, declared["op"], row.row)
            row = replace(row, op=declared["op"], variant=label, notes=notes, reproduce=command, unusable=False)
            yield _returned(row, declared)
            yield from self._other_samples(row, declared)

    def _other_samples(self, row: Row, declared: dict[str, Any]) -> Iterator[Row]:
        """The same row for the other samples on which it breaks."""
        if row.status == BREAKS:
            breaches = [one for one in declared["breaches"] if one["row"] == row.row]
            for one in breaches[1:]:
                command = reproduce(self.engine.name, self.site.named, declared["op"], row.row)
                yield replace(
                    row,
                    op=declared["op"],
                    what=one["what"],
                    variant=one["sample"],
                    notes=side(declared),
                    reproduce=command,
                    seconds=0.0,
                )

    def script(self, row: Row) -> str:
        """A script of five lines that shows the breach; empty if there is none."""
        declared = next(declared for declared in self.declarations if declared["op"] == row.op)
        script: str = declared["scripts"].get(f"{row.row} {row.variant}", "") if row.status == BREAKS else ""
        return script

    def _declared(self) -> Iterator[Row]:
        for declared in self.declarations:
            for row, outcome in from_declaration(declared):
                if not self.rows or row in self.rows or (row == SURVEY and self._says_why(declared)):
                    status, what, variant, notes = outcome
                    command = reproduce(self.engine.name, self.site.named, declared["op"], row)
                    yield Row(
                        op=declared["op"],
                        row=row,
                        status=status,
                        what=what,
                        variant=variant,
                        notes=(*notes, *side(declared)),
                        reproduce=command,
                    )

    def _says_why(self, declared: dict[str, Any]) -> bool:
        """Whether the rows that were asked for are lacking for a reason, which is a row of its own."""
        return bool(declared["reason"] or self._wanted(declared["opaque"]))


def _returned(row: Row, declared: dict[str, Any]) -> Row:
    """The row ``count`` of a body that returns tensors although its declaration says that it returns nothing."""
    if row.row != COUNT or not declared["undeclared"]:
        return row
    tensors = f"{declared['undeclared']} tensor{'s'[: declared['undeclared'] > 1]}"
    return replace(
        row, status=BREAKS, what=f"it is declared to return nothing, and its body returns {tensors}", variant=""
    )
