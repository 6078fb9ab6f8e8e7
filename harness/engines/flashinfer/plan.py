"""The audit of one FlashInfer, from outside: its declarations by one worker, then each op's rows by the audit's own."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from harness.audit.plan import KINDS, Auditing, Plan
from harness.audit.row import BREAKS, HOLDS, NOT_APPLICABLE, NOT_RUN, SURVEY, Row
from harness.base.errors import BadInput, nearest
from harness.engines.flashinfer.declared.functions import SPACE
from harness.engines.flashinfer.declared.sites import Site
from harness.workers.pool import Pool
from harness.workers.process import Job

STUB = "the real side is FlashInfer's own Python, which checks, allocates and returns, around a stub kernel"
DECLARED, PARAMETERS, FAKE, ELSEWHERE = "declared schema", "parameters", "fake", "off the CPU"
# What means something around a stub kernel. Layouts and values do not: the checks of them are in the kernels.
AUDITED = (
    "mutation", "alias", FAKE, "data reads", "count", "shape", "stride", "storage offset", "dtype", "device",
    "fake is pure", "fake writes", "aot_eager", "inductor",
)  # fmt: skip
ROWS = (SURVEY, DECLARED, PARAMETERS, *AUDITED, ELSEWHERE)


@dataclass(frozen=True)
class _Plan(Plan):
    """A plan of the audit whose commands are those of this lane."""

    site: str = ""

    def reproduce(self, op: str, row: str, variant: str = "") -> str:
        """A command that looks at this row again."""
        return reproduce(self.site, op.partition("::")[2], row)


def reproduce(site: str, op: str, row: str) -> str:
    """A command that looks at one row of one op of one FlashInfer again."""
    rows = f" --rows {shlex.quote(row)}" if row != SURVEY else ""
    return f"harness audit flashinfer {op} --versions {shlex.quote(site)}{rows}"


@dataclass
class Lane:
    """One FlashInfer under audit. ``ops`` are names or patterns, all where there is none; ``rows`` likewise."""

    site: Site
    ops: Sequence[str]
    rows: Sequence[str]
    folder: str
    path: tuple[str, ...]
    workers: int
    seconds: float
    told: list[dict[str, Any]] = field(default_factory=list)

    def declare(self) -> int:
        """Capture what it declares; returns how many rows there will be. Raises BadInput."""
        (reply,) = list(Pool(Job("harness.engines.flashinfer.worker:start", {"path": self._path}), [[0]], 1))
        if reply.answer is None:
            raise BadInput(f"capturing FlashInfer {self.site.version} ended the process ({reply.died})")
        every = reply.answer["ops"]
        self.told = [told for told in every if not self.ops or any(fnmatchcase(told["op"], one) for one in self.ops)]
        missing = [one for one in self.ops if not any(fnmatchcase(told["op"], one) for told in every)]
        if missing and not self.told:
            near = nearest(missing[0], [told["op"] for told in every])
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise BadInput(f"FlashInfer {self.site.version} declares no op {missing[0]!r}{hint}")
        return len(list(self._declared())) + len(self._audited) * (1 + len(self._wanted))

    @property
    def _path(self) -> tuple[str, ...]:
        return (*self.site.path, *self.path)

    @property
    def _audited(self) -> list[str]:
        return (
            [f"{SPACE}::{told['op']}" for told in self.told if told["auditable"] and told["samples"]]
            if self._wanted
            else []
        )

    @property
    def _wanted(self) -> tuple[str, ...]:
        return tuple(row for row in AUDITED if not self.rows or row in self.rows)

    def __iter__(self) -> Iterator[Row]:
        """The rows as they come. Raises BadInput where a worker cannot start."""
        yield from self._declared()
        if not self._audited:
            return
        plan = _Plan(
            ops=tuple(self._audited),
            modules=("harness.engines.flashinfer.captured.registered",),
            samples=tuple(f"harness.engines.flashinfer.samples.table:{op.partition('::')[2]}" for op in self._audited),
            device="cpu", rows=self._wanted, variant="as given", path=self._path, folder=self.folder,
            workers=self.workers, seconds=self.seconds, site=self.site.named, kinds=KINDS[:1],
        )  # fmt: skip
        labels = {told["op"]: told["samples"] for told in self.told}
        known = {told["op"]: told for told in self.told}
        for row in Auditing(plan):
            op = row.op.partition("::")[2]
            if row.row == FAKE and not known[op]["fake"]:
                continue  # told by the declaration
            yield replace(row, op=op, variant=_label(row.variant, labels[op]), notes=(*row.notes, STUB), unusable=False)
            yield from self._others(row, known[op])

    def _others(self, row: Row, told: dict[str, Any]) -> Iterator[Row]:
        """The other samples on which a row breaks: a release may mend one of them."""
        if row.status == BREAKS:
            same = [one for one in told["breaches"] if one["row"] == row.row]
            for one in same[1:]:
                command = reproduce(self.site.named, told["op"], row.row)
                yield replace(
                    row,
                    op=told["op"],
                    what=one["what"],
                    variant=one["sample"],
                    notes=(STUB,),
                    reproduce=command,
                    seconds=0.0,
                )

    def script(self, row: Row) -> str:
        """A script of five lines that shows a row which breaks; empty where there is none."""
        told = next(told for told in self.told if told["op"] == row.op)
        found: str = told["scripts"].get(f"{row.row} {row.variant}", "") if row.status == BREAKS else ""
        return found

    def _declared(self) -> Iterator[Row]:
        for told in self.told:
            for row, seen in _rows(told):
                if not self.rows or row in self.rows:
                    status, what, variant, notes = seen
                    command = reproduce(self.site.named, told["op"], row)
                    yield Row(
                        op=told["op"],
                        row=row,
                        status=status,
                        what=what,
                        variant=variant,
                        notes=(*notes, STUB),
                        reproduce=command,
                    )


Seen = tuple[str, str, str, tuple[str, ...]]


def _rows(told: dict[str, Any]) -> Iterator[tuple[str, Seen]]:
    """The rows that the declaration alone decides."""
    if told["reason"]:
        yield SURVEY, (NOT_RUN, f"not captured: {told['reason']}", "", ())
        return
    yield DECLARED, _schema(told)
    if told["fake"]:
        yield PARAMETERS, _parameters(told)
    elif told["trivial"]:
        yield FAKE, (NOT_APPLICABLE, "none is declared and none is needed: it returns nothing", "", ())
    elif told["auditable"]:
        yield FAKE, (BREAKS, "no fake is declared: torch.compile could not trace the op", "", ())
    if told["elsewhere"]:
        yield ELSEWHERE, _elsewhere(told)
    if not told["auditable"]:
        yield SURVEY, (NOT_RUN, "torch has no schema for it, nor for anything near it", "", ())
    elif told["unsampled"]:
        yield SURVEY, (NOT_RUN, told["unsampled"], "", ())


def _schema(told: dict[str, Any]) -> Seen:
    if not told["refused"]:
        return HOLDS, "torch infers a schema", "", ()
    notes = (f"audited with {'; '.join(told['mended'])}",) if told["mended"] else ()
    return BREAKS, f"torch refuses it: {_short(told['refused'])}", "", notes


def _short(text: str) -> str:
    """Torch's first sentence or two."""
    return (
        re.split(r" mutates_args should| It is not a type| If you are using", text)[0]
        .removesuffix(".")
        .replace("typing.", "")
    )


def _parameters(told: dict[str, Any]) -> Seen:
    if told["differs"]:
        return BREAKS, "; ".join(told["differs"]), "", tuple(told["notes"])
    return HOLDS, "real and fake have the same", "", tuple(told["notes"])


def _elsewhere(told: dict[str, Any]) -> Seen:
    found = [one for one in told["elsewhere"] if one["differs"]]
    if found:
        return BREAKS, f"on tensors that are not the CPU's, {found[0]['differs']}", found[0]["sample"], ()
    ran = [one for one in told["elsewhere"] if not one["unrun"]]
    if not ran:
        return NOT_RUN, f"the real body does not run on tensors without data: {told['elsewhere'][0]['unrun']}", "", ()
    return HOLDS, f"{len(ran)} samples", "", ()


def _label(variant: str, labels: Sequence[str]) -> str:
    """The name of a sample in the place of its number."""
    if not variant.startswith("as given"):
        return variant
    number = variant.rpartition("sample ")[2] if "sample " in variant else "1"
    return labels[int(number) - 1] if number.isdigit() and int(number) <= len(labels) else variant
