"""What a reader is given: a call that raised, its run, and what the text of its exception says."""

from dataclasses import dataclass
from functools import cached_property

from harness.base.exception_text import user_line
from harness.base.source import SourceLine
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.exception import read_exception
from harness.diagnosis.facts import Facts
from harness.execution.evidence import Call, Record, Run


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

    @cached_property
    def line(self) -> SourceLine | None:
        """The user's line of the exception."""
        return user_line(self.error)
