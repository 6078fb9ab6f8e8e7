"""From an exception to a finding: the readers are asked in turn, and the first that recognises it writes the finding.

What an exception's text says is read by the room `diagnosis`, as it is for `harness diagnose`.
"""

import re
from dataclasses import replace

from harness.base.exception_text import first_line, user_caller
from harness.execution.evidence import Call, Run
from harness.execution.rig import EAGER_AUDIT
from harness.execution.stages import PAD
from harness.findings.finding import Finding
from harness.findings.fixed_tokens import fixes, stage_of
from harness.findings.origins import pad_of_rows
from harness.findings.readers import by_text, capturing, compiling, ops, shapes, strided
from harness.findings.readers.raised import Raised
from harness.matrix.case import Case

# In this order: what the harness itself raised, what torch.compile raised, the op that was recorded last, the text alone.
READERS = (
    capturing.freed_memory,
    capturing.other_graphs_memory,
    capturing.not_captured,
    capturing.capture_refused,
    compiling.size_assert,
    compiling.compiled,
    strided.strided_collective,
    shapes.width_mismatch,
    ops.custom_op,
)

_ON_DATA = ("raised", "op-raised")  # other kinds of exceptions are of the shapes, which a trace knows
_TRACE_IS_CLEAN = "It raises on real tensors and traces clean: the modes fake and fake-dynamic prove nothing here."


def explain(run: Run, call: Call) -> Finding:
    """The finding for a call that raised."""
    assert call.error is not None
    run = replace(run, case=call.case or run.case)  # a variation may call a layer of other widths
    raised = _in_eager(run, call) or Raised(run, call, call.error)
    recognised = (finding for reader in READERS if (finding := reader(raised)))
    finding = next(recognised, None) or by_text.by_text(raised)
    finding = replace(finding, caller=user_caller(call.error, finding.line))
    finding = _of_rows(raised, finding)
    finding = _of_fake(raised, finding)
    if call.case:
        finding = _without_rule(finding, call.case)
    on_data = run.trace_is_clean and finding.kind in _ON_DATA
    return replace(finding, cause=f"{finding.cause} {_TRACE_IS_CLEAN}") if on_data else finding


def _of_fake(raised: Raised, finding: Finding) -> Finding:
    """The finding of a number of tokens that a compilation fixed, at the op whose fake fixes it in a trace."""
    op, line = raised.run.specialised_by, raised.run.specialised_at
    if finding.kind != "specialised" or not op or finding.detail.get("failure") != "constraint":
        return finding
    stage, detail = stage_of(op, raised.call.records), finding.detail | {"fake_of": op}
    return replace(finding, stage=stage, cause=fixes(op, line), line=line or finding.line, caller=None, detail=detail)


def _without_rule(finding: Finding, case: Case) -> Finding:
    """The finding of a layer whose widths follow no published rule, though its alignment has the name of one."""
    texts = (width.text.removesuffix(f", {case.alignment.name}") for width in finding.widths)
    return replace(
        finding, widths=tuple(replace(one, text=text) for one, text in zip(finding.widths, texts, strict=True))
    )


def _of_rows(raised: Raised, finding: Finding) -> Finding:
    """The finding at the pad where that adds rows in place of columns, and the exception is of as many rows."""
    found = pad_of_rows(raised.run.case, raised.call.records)
    if found is None or finding.stage == PAD:
        return finding
    rows = [str(meta.shape[0]) for meta in (found[0].inputs[0], found[0].outputs[0]) if meta]
    if all(re.search(rf"(?<!\w){re.escape(count)}(?!\w)", finding.what) for count in rows):
        return replace(finding, stage=PAD, cause=f"{finding.cause} {found[1]}")
    return finding


def _in_eager(run: Run, call: Call) -> Raised | None:
    """A compiled call whose op raised as it ran, with the records of eager code that raised the same; None where it is not so."""
    if call.failed_record or not run.mode.startswith("compiled"):
        return None
    for audit in (one for one in run.calls if one.label == EAGER_AUDIT and one.error and one is not call):
        assert audit.error is not None
        assert call.error is not None
        if audit.failed_record and audit.failed_record.custom and first_line(audit.error) == first_line(call.error):
            return Raised(run, replace(call, records=audit.records), call.error, in_eager=True)
    return None
