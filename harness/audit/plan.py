"""The audit of many ops: the tasks for the pool, and the rows that come of their answers."""

import shlex
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.audit.journal import MADE_UP, Journal, journal_file
from harness.audit.row import BREAKS, HOLDS, NOT_RUN, PROPERTIES, SURVEY, Row
from harness.audit.wording import on_variants
from harness.workers.pool import Pool, Reply
from harness.workers.process import NO_ANSWER, Job

SECONDS = 120.0
# The kinds of variants, in the order in which they are tried. harness.audit.variants.kinds makes them.
KINDS = (
    "as given", "permuted", "channels last", "sliced", "broadcast", "storage offset", "guard rows",
    "zero rows", "one row", "other size", "other dtype",
    "bool", "optional", "named value", "unnamed value", "named size", "multiple",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Which ops to audit, and how. ``folder`` is for the journals.

    ``samples`` has one function for all ops, or one for each. ``package`` is what a command names in place of the modules.
    Those of ``optional`` are imported too, and may fail.
    """

    ops: tuple[str, ...]
    modules: tuple[str, ...]
    samples: tuple[str, ...]
    device: str
    rows: tuple[str, ...]
    variant: str
    path: tuple[str, ...]
    folder: str
    workers: int = 1
    seconds: float = SECONDS
    kinds: tuple[str, ...] = KINDS
    sizes: tuple[int, ...] = ()
    command: tuple[str, ...] = ()
    package: str = ""
    optional: tuple[str, ...] = ()

    @property
    def job(self) -> Job:
        """The job that every worker of the plan gets."""
        settings = {"modules": self.modules, "device": self.device, "path": self.path, "folder": self.folder}
        settings |= {"optional": self.optional}
        specs = {op: self.spec(op) for op in self.ops}
        return Job(
            "harness.audit.worker:start",
            settings | {"samples": specs, "variant": self.variant, "kinds": self.kinds, "sizes": self.sizes},
            self.seconds,
            self.command,
        )

    def named(self) -> list[tuple[str, str]]:
        """The (op, row) of every row that will come."""
        return [(op, row) for op in self.ops for row in (SURVEY, *self.rows)]

    def spec(self, op: str) -> str:
        """The samples function of an op, ``module:function``; empty if none was named."""
        if len(self.samples) <= 1:
            return self.samples[0] if self.samples else ""
        return self.samples[self.ops.index(op)]

    def reproduce(self, op: str, row: str, variant: str = "") -> str:
        """A command that reproduces this row."""
        modules = [] if self.package else [f"--import {shlex.quote(name)}" for name in self.modules]
        parts = ["harness audit", *filter(None, [self.package]), shlex.quote(op), *modules]
        parts += [f"--samples {shlex.quote(self.spec(op))}"] if self.spec(op) else []
        parts += [f"--rows {shlex.quote(row)}"] if row != SURVEY else []
        parts += [f"--sizes {','.join(map(str, self.sizes))}"] if self.sizes else []
        parts += [f"--variant {shlex.quote(variant)}"] if variant and not variant.startswith("as given") else []
        return " ".join([*parts, *([f"--device {self.device}"] if self.device not in ("cpu", "auto") else [])])


@dataclass
class _Survey:
    """The answers so far about the variants of one op."""

    accepted: int = 0
    refused: list[str] = field(default_factory=list)
    given: int = 0
    demands: list[str] = field(default_factory=list)
    crashed: bool = False
    died: list[tuple[str, str]] = field(default_factory=list)
    reason: str = ""
    seconds: float = 0.0


class AuditRun:
    """Runs a plan on a pool of workers. One worker does all tasks of an op, since they share its cached calls.

    ``wanted`` says which (op, row) to give; without it, all are. The variants of an op are surveyed for any of its rows.
    """

    def __init__(self, plan: Plan, wanted: Collection[tuple[str, str]] | None = None) -> None:
        self.plan, self.wanted = (
            plan,
            plan.named() if wanted is None else [one for one in plan.named() if one in wanted],
        )
        self._surveys = {op: _Survey() for op in plan.ops}
        self._started = dict.fromkeys(plan.ops, 0.0)

    @property
    def total(self) -> int:
        """The number of rows that will come."""
        return len(self.wanted)

    def __iter__(self) -> Iterator[Row]:
        """The rows as they come. Raises BadInput if modules or samples cannot be used."""
        for reply in Pool(self.plan.job, self._groups(), self.plan.workers) if self.wanted else ():
            row = self._row(reply)
            if row is not None and (row.op, row.row) in self.wanted:
                yield row

    def _groups(self) -> list[list[dict[str, str]]]:
        return [
            [{"op": op, "kind": kind} for kind in self.plan.kinds]
            + [{"op": op, "row": row} for row in self.plan.rows if (op, row) in self.wanted]
            for op in dict.fromkeys(op for op, _ in self.wanted)
        ]

    def _row(self, reply: Reply) -> Row | None:
        op = reply.task["op"]
        if "kind" not in reply.task:
            return self._property(op, reply.task["row"], reply)
        self._add_survey(self._surveys[op], reply)
        return self._runs(op) if reply.task["kind"] == self.plan.kinds[-1] else None

    def _add_survey(self, survey: _Survey, reply: Reply) -> None:
        answer = reply.answer
        if answer is None:
            label = Journal(journal_file(self.plan.folder, reply.task["op"])).last_crash
            survey.crashed |= not _late(reply) and label != MADE_UP
            survey.died.append((label or reply.task["kind"], self._end(reply)))
            return
        survey.accepted += len(answer["accepted"])
        survey.refused += answer["refused"]
        survey.demands += answer["demands"]
        survey.reason = survey.reason or answer["reason"]
        survey.seconds += answer["seconds"]
        if reply.task["kind"] == KINDS[0]:
            survey.given = len(answer["accepted"])

    def _end(self, reply: Reply) -> str:
        code = _code(reply)
        if _late(reply):
            return reply.died + ("; --seconds N allows more time" if reply.died.startswith(NO_ANSWER) else "")
        if code.startswith("-"):  # a signal: what the process wrote to standard error before is unrelated
            return f"the process died: {signal.strsignal(-int(code))}"
        return f"the process died ({reply.died})"

    def _runs(self, op: str) -> Row:
        """The row of the survey: which variants the real implementation accepts."""
        survey = self._surveys[op]
        refusals = tuple(survey.refused)
        row = Row(
            op=op, row=SURVEY, status=HOLDS, what="", reproduce=self.plan.reproduce(op, SURVEY), seconds=survey.seconds
        )
        fields = {
            **row.to_json(),
            "notes": (*survey.demands, *(f"not accepted: {refusal}" for refusal in refusals)),
        }
        if survey.died:
            return Row(**{**fields, **_died(survey)})
        if not survey.given:
            reason = survey.reason or f"the op refuses every sample: {refusals[0] if refusals else 'there is none'}"
            more = f"; it accepts {survey.accepted} variants of them" if survey.accepted else ""
            notes = tuple(survey.demands)
            what, unusable = reason + more, not survey.accepted
            return Row(**{**fields, "status": NOT_RUN, "what": what, "notes": notes, "unusable": unusable})
        refused = f", and refuses {len(refusals)}" if refusals else ""
        return Row(**{**fields, "what": f"the real implementation accepts {survey.accepted} variants{refused}"})

    def _property(self, op: str, name: str, reply: Reply) -> Row:
        if reply.answer is None:
            end, status = self._end(reply), NOT_RUN if _late(reply) else BREAKS
            return Row(op=op, row=name, status=status, what=end, reproduce=self.plan.reproduce(op, name))
        result = reply.answer
        command = self.plan.reproduce(op, name, result["variant"])
        return Row.from_json(result | {"op": op, "row": name, "reproduce": command})


def _died(survey: _Survey) -> dict[str, Any]:
    """The fields of the row of an op of which some variant ended the process, or ran out of time."""
    own = [one for one in survey.died if one[0] != MADE_UP]
    (kind, end), *rest = own or survey.died
    others = dict.fromkeys(label for label, _ in rest if label != kind)
    also = f"; also {on_variants(others)}" if others else ""
    hint = "" if own else "; --samples names arguments that the op takes"
    fields = {"what": end + also + hint, "variant": kind}
    if survey.crashed or survey.given:
        return {**fields, "status": BREAKS if survey.crashed else NOT_RUN}
    return {**fields, "status": NOT_RUN, "unusable": True}


def _code(reply: Reply) -> str:
    return reply.died.removeprefix("exit code ").partition(",")[0]


def _late(reply: Reply) -> bool:
    """Whether a worker was stopped at its time limit, or not asked. A loaded machine does that too: no fault of the op."""
    return reply.died.startswith((NO_ANSWER, "not tried"))


def rows(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The properties of these names in the order of the table, or all. Raises BadInput."""
    from harness.base.errors import unknown

    for name in chosen:
        if name not in (*PROPERTIES, SURVEY):
            raise unknown("row", name, (*PROPERTIES, SURVEY))
    return tuple(name for name in PROPERTIES if not chosen or name in chosen)


def timed(function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer of a function, with the seconds that it took."""
    start = time.perf_counter()
    return function() | {"seconds": round(time.perf_counter() - start, 3)}
