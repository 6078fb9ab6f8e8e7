"""What a script traces for a finding of the prover: sizes that show it, or the reason why no script does."""

from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.matrix.shrunk import resized
from harness.proof.fixed import Fixed, failing, fixed
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.structures import UnknownStructure
from harness.proof.symbols.symbolic_layer import symbolic_layer
from harness.proof.symbols.trace import FAKE_DIFFERS
from harness.subjects.subject import Subject

PROVER = "proof"
SPECIALISED = "specialised"


class Untraced(Exception):
    """Why no script traces what a finding of the prover says."""


def chosen(subject: Subject, case: Case, finding: Finding) -> Fixed:
    """The sizes that a script traces the layer at. Raises Untraced."""
    try:
        shown = _shown(subject, case, finding)
    except (NotProvable, UnknownStructure) as error:
        raise Untraced(f"the layer of this case cannot be traced over symbolic sizes: {error}") from None
    if shown is None:
        raise Untraced(_NONE[finding.kind == SPECIALISED])
    return shown


def _shown(subject: Subject, case: Case, finding: Finding) -> Fixed | None:
    symbolic = symbolic_layer(subject, case if case.full else resized(case, {}), whole=not case.full)
    return fixed(symbolic) if finding.kind == SPECIALISED else failing(symbolic, FAKE_DIFFERS)


_NONE = {
    True: "a script holds one layer, and for one whose flags stay as they are no three sizes were found that each need a trace",
    False: "no size was found at which an op's fake differs from the op in a trace, which is all that a script of one shows",
}
