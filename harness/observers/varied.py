"""Varied: a layer that is right in a plain call is right where one thing is varied, such as the number of tokens."""

from dataclasses import replace

from harness.execution import stages
from harness.execution.difference import within
from harness.execution.evidence import WHEN_RETURNED, Call, LeftBehind, Run
from harness.findings.finding import Finding
from harness.findings.fixed_tokens import fixes
from harness.observers import values
from harness.observers.values import difference_of
from harness.observers.variations.accounts import account, is_wrong
from harness.observers.variations.causes import CAUSES, KINDS, cause, depends_on_earlier, key_of
from harness.observers.variations.places import difference
from harness.ops.finite import all_finite

_FIXED = (
    "The trace turns the number of tokens into a constant, in the layer or in the fake of one of its ops: by int(), len(), a "
    "fixed size, or an equality with a number. So each number of tokens compiles again."
)


def look(run: Run) -> list[Finding] | None:
    """One finding for each group of variations in which an output differs from the oracle, about the first such call."""
    varied = [call for call in run.calls if call.varied]
    if not varied and not run.left_behind:
        return None
    wrong: dict[str, Call] = {}
    for call in varied:
        assert call.varied is not None
        if is_wrong(run, call):
            wrong.setdefault(call.varied.group, call)
    if "tokens" in wrong:  # the other groups of token counts show the same, unless a fresh layer is right there
        wrong = {
            g: c for g, c in wrong.items() if KINDS[g] != "token-count" or g == "tokens" or c.fresh_differs is False
        }
    beside = [_beside(call) for call in varied if call.overwrote_beside][:1]
    left = [_left_behind(one) for one in {one.varied.group: one for one in reversed(run.left_behind)}.values()]
    return left + beside + [_finding(run, call) for call in wrong.values() if not run.failed]


def _left_behind(left: LeftBehind) -> Finding:
    return Finding(
        observer="varied",
        kind="recompiled" if left.recompiled else KINDS[key_of(left.varied)],
        stage=left.stage or "layer",
        what=left.what,
        cause=fixes(left.op, left.line)
        if left.op
        else _FIXED
        if left.fixed
        else CAUSES.get(left.varied.name) or CAUSES[left.varied.group],
        call=left.varied.words,
        line=left.line,
        vary=left.varied.name,
    )


def _beside(call: Call) -> Finding:
    """The finding of a layer that wrote into its caller's memory."""
    when = call.varied.words if call.varied else call.label
    return Finding(
        observer="varied",
        kind="writes-beside",
        stage=stages.PAD,
        what=f"{when}: the layer wrote into its caller's buffer, {call.overwrote_beside}",
        cause="Those columns or rows belong to the caller. Padding goes into memory of the layer's own.",
        call=call.label,
    )


def with_account(run: Run, call: Call, finding: Finding) -> Finding:
    """The finding of a varied call that raised, with what was varied and from where on it raises."""
    if call.varied is None:
        return finding
    more = f"{account(run, call)}. {finding.cause}{_earlier(call) or _limit(run, call)}"
    return replace(finding, call=call.label, cause=more, vary=call.shown_by)


def _earlier(call: Call) -> str:
    """That it is earlier calls which make a call raise, where a layer without them is right; empty where it is not so."""
    return f" {cause(call)}" if depends_on_earlier(call) else ""


def _limit(run: Run, call: Call) -> str:
    """How a layer says that it takes no larger batch, where every larger one raises."""
    assert call.varied is not None
    if call.varied.group != "tokens" or run.declared.layer_of:
        return ""
    right = [c.tokens for c in run.calls if c.error is None and (c.varied is None or c.varied.group == "tokens")]
    if not right or max(right) > call.tokens:
        return ""
    return f" A layer that takes no larger batch declares it, as tokens<={max(right)}."


def with_variation(run: Run, finding: Finding) -> Finding:
    """The finding of any observer, with the name of the variation in whose call it was made."""
    names = [call.shown_by for call in run.calls if call.varied and call.label == finding.call]
    return replace(finding, vary=names[0]) if names and not finding.vary else finding


def _finding(run: Run, call: Call) -> Finding:
    assert call.varied is not None
    if closer := _by_closer_look(run, call):
        return closer
    stage, where = difference(run, call)
    return Finding(
        observer="varied",
        kind="output-overwritten"
        if call.reference == WHEN_RETURNED
        else "stale"
        if call.right_in_other_order or call.outside or depends_on_earlier(call)
        else "stale-replay"
        if call.own_count_too
        else "input-contents"
        if call.by_row
        else KINDS[key_of(call.varied)],
        stage=stage,
        what=f"{account(run, call)}; {where}",
        cause=" ".join((*_causes(call), *call.facts)),
        line=call.miscut.line if call.miscut else None,
        call=call.label,
        detail={"vary": call.varied.name, "tokens": call.tokens}
        | ({"earlier": list(call.earlier)} if call.earlier else {}),
        vary=call.shown_by,
    )


def _causes(call: Call) -> list[str]:
    """The usual cause of what was varied, unless a second look has shown the very one."""
    if call.miscut and not call.outside:
        return [call.miscut.text]
    return [] if call.unreduced and not call.outside else [cause(call)]


def _by_closer_look(run: Run, call: Call) -> Finding | None:
    """The finding of a call whose every element is within its tolerance: a factor or a column that only many tokens show."""
    assert call.snapshot is not None
    assert call.expected is not None
    found = difference_of(call) if all_finite(call.snapshot) else None
    if found is None or not within(call.snapshot, call.expected):
        return None
    finding = values.finding(replace(run, case=run.case_of(call)), call, found, "varied")
    assert call.varied is not None
    more = f"{finding.cause} Each element is within its tolerance: {call.tokens:,} tokens together show it."
    return replace(finding, cause=more, vary=call.shown_by)
