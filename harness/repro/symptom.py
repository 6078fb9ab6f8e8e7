"""The symptom that a script must show: the error that the layer raises, or the check that its output fails."""

import re
from dataclasses import dataclass
from importlib import import_module

import torch

from harness.base.exception_text import text_of
from harness.execution.modes import Mode
from harness.execution.pinned import pinned
from harness.execution.rig import BuildFailed, Rig
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.matrix.modes import PROOF, ModeInfo
from harness.subjects.subject import Subject

# What the contract observer says of a fake that raised.
_FAKE_RAISED = re.compile(r"fake implementation raised (\w+)")
# What the variations of several layers say of something beside the call, such as copy.deepcopy.
_RAISES_AFTER = re.compile(r" raises (\w+), which it does not before a call")
_NUMBERS = re.compile(r"(?<![\w.])\d+(?![\w.])")


@dataclass(frozen=True, slots=True)
class Symptom:
    """A finding and how it shows: the class of the exception, or an empty text where the layer returns something wrong.

    ``widths`` are the widths of the layer that the finding names. The script's error must name them too.
    """

    finding: Finding
    error: str
    widths: tuple[int, ...]

    @property
    def expected(self) -> str:
        """The class of the exception with which the script must end."""
        return self.error or AssertionError.__name__


def symptom(subject: Subject, case: Case, mode: ModeInfo, device: torch.device, finding: Finding) -> Symptom:
    """How a finding shows. Runs the mode once more where the layer may have raised: a finding does not say the class."""
    error = _error(subject, case, mode, device, finding)
    if error is None:
        match = _FAKE_RAISED.search(finding.what) or _RAISES_AFTER.search(finding.what)
        return Symptom(finding, match[1] if match else "", ())
    # A graph may read the freed memory through several views, of which the error names one.
    widths = () if finding.kind == "freed-memory" else widths_in(text_of(error), case)
    return Symptom(finding, type(error).__name__, widths)


def widths_in(text: str, case: Case) -> tuple[int, ...]:
    """The layer's widths that a text names, each once."""
    known = {case.hidden, case.latent, case.padded, case.padded_intermediate, case.intermediate, case.shared}
    numbers = dict.fromkeys(int(number) for number in _NUMBERS.findall(text.replace("x", " ")))
    return tuple(number for number in numbers if number in known)


def _error(
    subject: Subject, case: Case, mode: ModeInfo, device: torch.device, finding: Finding
) -> BaseException | None:
    """What the layer raised in the call of the finding; None where it returned."""
    if mode is PROOF or _FAKE_RAISED.search(finding.what):
        return None
    module: Mode = import_module(mode.module)
    try:
        with pinned():
            run = module.run(Rig(subject, case, device, mode.name, mode.vary), mode.dynamic)
    except BuildFailed as error:
        return error.__cause__ or error
    raised = next((call for call in run.calls if call.error is not None), None)
    return raised.error if raised is not None and raised.label == finding.call else None
