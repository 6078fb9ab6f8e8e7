"""What a reader is given: a call that raised, its run, and what the text of its exception says."""

from dataclasses import dataclass
from functools import cached_property

from harness.base.exception_text import user_line
from harness.base.source import SourceLine
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.exception import read_exception
from harness.diagnosis.facts import Facts
from harness.execution.evidence import Call, Record, Run
from harness.execution.stages import SHARED, SUBMODULES, is_matmul


@dataclass(frozen=True)
class Raised:
    """A call of a run that raised ``error``. ``in_eager`` says that the records are of eager code that raised the same."""

    run: Run
    call: Call
    error: BaseException
    in_eager: bool = False

    @property
    def record(self) -> Record | None:
        """The record of the op that raised; None where none was recorded."""
        return self.call.failed_record

    @cached_property
    def _read(self) -> tuple[Facts, Diagnosis]:
        return read_exception(self.error)

    @property
    def facts(self) -> Facts:
        """What the exception's text says."""
        return self._read[0]

    @property
    def diagnosis(self) -> Diagnosis:
        """What the exception is by its text and class, as ``harness diagnose`` would say of a log."""
        return self._read[1]

    @property
    def stage(self) -> str:
        """The stage that the raising line is of; ``layer`` where nothing tells it.

        A branch on data is a line's of the layer, and no op's. Of the stages that an op has, the shared expert's is the one that is
        inferred from nothing but that no other fits: only its products are known to be its own.
        """
        if part := stage_of_part(self.error):
            return part
        if self.record is None or (self.diagnosis.kind == "data-dependent" and not self.record.custom):
            return "layer"
        inferred = self.record.stage == SHARED and not self.run.declared.submodules
        return "layer" if inferred and not is_matmul(self.record.op) else self.record.stage

    @cached_property
    def line(self) -> SourceLine | None:
        """The user's line of the exception."""
        return user_line(self.error)


def stage_of_part(error: BaseException) -> str:
    """The stage of the part of the layer, marked as ``submodules.noting_parts`` says, in whose code it raised; empty for none."""
    stage, step = "", error.__traceback__
    while step is not None:
        stage = SUBMODULES.get(str(getattr(step.tb_frame.f_locals.get("self"), "moe_part", "")), stage)
        step = step.tb_next
    return stage
