"""Varied: a layer that is right in a plain call is right where one thing is varied, such as the number of tokens."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from harness.execution import stages
from harness.execution.difference import TOLERANCE, ranges, within
from harness.execution.evidence import CALL_WITH, Call, LeftBehind, Run, all_finite
from harness.findings.finding import Finding
from harness.observers import values
from harness.observers.values import diagnose, difference_of

_LISTED = 8


def look(run: Run) -> list[Finding] | None:
    """One finding for each group of variations in which an output differs from the oracle, about the first such call."""
    varied = [call for call in run.calls if call.varied]
    if not varied and not run.left_behind:
        return None
    wrong: dict[str, Call] = {}
    for call in varied:
        assert call.varied is not None
        if _is_wrong(run, call):
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
        kind=KINDS[left.varied.group],
        stage="layer",
        what=left.what,
        cause=CAUSES[left.varied.group],
        call=left.varied.words,
        line=left.line,
        vary=left.varied.name,
    )


def _beside(call: Call) -> Finding:
    """The finding of a layer that wrote into its caller's memory."""
    return Finding(
        observer="varied",
        kind="writes-beside",
        stage=stages.PAD,
        what=f"{call.varied.words if call.varied else call.label}: the layer wrote into the buffer beside its inputs",
        cause="Those columns or rows belong to the caller. Padding goes into memory of the layer's own.",
        call=call.label,
    )


def with_account(run: Run, call: Call, finding: Finding) -> Finding:
    """The finding of a varied call that raised, with what was varied and from where on it raises."""
    if call.varied is None:
        return finding
    cause = f"{_account(run, call)}. {finding.cause}{_limit(run, call)}"
    return replace(finding, call=call.label, cause=cause, vary=call.varied.name)


def _limit(run: Run, call: Call) -> str:
    """How a layer says that it takes no larger batch, where every larger one raises."""
    assert call.varied is not None
    if call.varied.group != "tokens":
        return ""
    right = [c.tokens for c in run.calls if c.error is None and (c.varied is None or c.varied.group == "tokens")]
    if not right or max(right) > call.tokens:
        return ""
    return f" A layer that takes no larger batch declares it, as tokens<={max(right)}."


def with_variation(run: Run, finding: Finding) -> Finding:
    """The finding of any observer, with the name of the variation in whose call it was made."""
    names = [call.varied.name for call in run.calls if call.varied and call.label == finding.call]
    return replace(finding, vary=names[0]) if names and not finding.vary else finding


def _is_wrong(run: Run, call: Call) -> bool:
    output = call.snapshot
    if (
        not isinstance(output, Tensor)
        or call.expected is None
        or output.shape != (call.tokens, run.case_of(call).hidden)
    ):
        return False
    return not all_finite(output) or difference_of(call) is not None


def _finding(run: Run, call: Call) -> Finding:
    assert call.varied is not None
    if closer := _by_closer_look(run, call):
        return closer
    stage, where = _difference(run, call)
    return Finding(
        observer="varied",
        kind="stale" if call.right_in_other_order else KINDS[call.varied.group],
        stage=stage,
        what=f"{_account(run, call)}; {where}",
        cause=_cause(call),
        call=call.label,
        detail={"vary": call.varied.name, "tokens": call.tokens},
        vary=call.varied.name,
    )


def _by_closer_look(run: Run, call: Call) -> Finding | None:
    """The finding of a call whose every element is within its tolerance: a factor or a column that only many tokens show."""
    assert call.snapshot is not None
    assert call.expected is not None
    difference = difference_of(call) if all_finite(call.snapshot) else None
    if difference is None or not within(call.snapshot, call.expected):
        return None
    found = values.finding(replace(run, case=run.case_of(call)), call, difference, "varied")
    assert call.varied is not None
    cause = f"{found.cause} Each element is within its tolerance: {call.tokens:,} tokens together show it."
    return replace(found, cause=cause, vary=call.varied.name)


def _difference(run: Run, call: Call) -> tuple[str, str]:
    """(stage, which tokens and columns are wrong and by how much) of a call's output."""
    assert call.snapshot is not None
    if not all_finite(call.snapshot):
        bad = ~torch.isfinite(call.snapshot)
        rows, width = bad.any(1).nonzero().flatten().tolist(), bad.any(0).nonzero().flatten().tolist()
        value = "NaN" if call.snapshot.isnan().any() else "infinite"
        where = f"in {_some(width, bad.shape[1], 'column')}"
        return "layer", f"{_some(rows, call.tokens, 'token')} {_be(rows)} {value}, {where}"
    difference = difference_of(call)
    assert difference is not None
    _, stage, _ = diagnose(run.case_of(call), difference)
    tokens = _some(difference.tokens, call.tokens, "token")
    columns = _some(difference.columns, difference.width, "column")
    by = f"at worst by {difference.worst:.2g} of the {'right output' if call.reference else 'oracle'}'s rms (tolerance {TOLERANCE})"
    return stage, f"{tokens} {_be(difference.tokens)} wrong, in {columns}, {by}"


def _some(places: list[int], count: int, what: str) -> str:
    """``1 of 65 tokens (64)``; ``all 7 tokens``."""
    if len(places) == count:
        return f"all {count:,} {what}s" if count > 1 else f"the only {what}"
    return f"{len(places):,} of {count:,} {what}s ({ranges(places)})"


def _be(places: list[int]) -> str:
    return "are" if len(places) > 1 else "is"


def _cause(call: Call) -> str:
    if call.fresh_differs is False:
        return (
            "A layer that was not called before is right for the same inputs: this one depends on earlier calls. It reuses "
            "something of one, or counts them."
        )
    if call.right_in_other_order:
        return (
            "A layer that was not called before is right for the same rows in another order: it is not the values that "
            "matter. Something is held for all layers by the contents of one input, and found again for others."
        )
    assert call.varied is not None
    return CAUSES.get(call.varied.name) or CAUSES.get(call.varied.group, "")


def _account(run: Run, call: Call) -> str:
    assert call.varied is not None
    return ACCOUNTS.get(call.varied.group, _plainly)(run, call)


def _plainly(run: Run, call: Call) -> str:
    """What was varied, beside the plain call that is right."""
    assert call.varied is not None
    first = run.calls[0]
    return (
        f"right for {_tokens(first.tokens)} of random values, {_fails(call)} for {call.label.removeprefix(CALL_WITH)}"
    )


def _by_tokens(run: Run, call: Call) -> str:
    """From which token count on the layer is wrong, or at which counts where larger ones are right."""
    calls = sorted((c for c in run.calls if c.varied is None or c.varied.group == "tokens"), key=lambda c: c.tokens)
    bad = {c.tokens for c in calls if c.error or _is_wrong(run, c)}
    good = {c.tokens for c in calls} - bad
    smaller = [count for count in good if count < call.tokens]
    before = f"right at {_tokens(max(smaller or good))}, " if good else ""
    larger = sorted(count for count in good if count > call.tokens)
    if not larger:
        return (
            f"{before}{_fails(call)} {'from' if len(bad) > 1 else 'at'} {call.tokens:,}{' on' if len(bad) > 1 else ''}"
        )
    listed = ", ".join(f"{count:,}" for count in sorted(bad)[:_LISTED])
    return f"{before}{_fails(call)} at {listed}; right again at {', '.join(f'{count:,}' for count in larger[:_LISTED])}"


def _of_form(run: Run, call: Call) -> str:
    """As plainly, with the inputs that show it alone."""
    places = [_input(place) for place in call.varied_inputs]
    alone = f" ({' or '.join(places)} alone shows it)" if places and len(places) < len(call.inputs) else ""
    return _plainly(run, call) + alone


def _input(place: int) -> str:
    return f"input {place}" if place else "hidden_states"


def _tokens(count: int) -> str:
    return f"{count:,} token{'s' * (count != 1)}"


def _fails(call: Call) -> str:
    return "raises" if call.error else "wrong"


Account = Callable[[Run, Call], str]


def _of_another(run: Run, call: Call) -> str:
    """What was varied, and whose output it should be."""
    whose = f"differs from {call.reference}" if call.reference else f"{_fails(call)}"
    assert call.varied is not None
    return f"{call.varied.words}: {whose}{'' if call.label == call.varied.words else f' ({call.label})'}"


_SURROUNDINGS = (
    "torch",
    "thread",
    "before",
    "other",
    "weights",
    "inputs",
    "written",
    "calls",
    "traced",
    "graphs",
    "sizes",
    "ranks",
)
ACCOUNTS: dict[str, Account] = {
    **dict.fromkeys((*_SURROUNDINGS, "compiled"), _of_another),
    "tokens": _by_tokens,
    "form": _of_form,
}
KINDS = {
    "torch": "torch-mode",
    "thread": "torch-mode",
    "before": "torch-mode",
    "process": "global-state",
    "memory": "leak",
    "other": "other-weights",
    "weights": "other-weights",
    "inputs": "stale",
    "written": "stale",
    "calls": "stale",
    "traced": "stale",
    "graphs": "stale-replay",
    "sizes": "other-sizes",
    "ranks": "ranks-differ",
    "compiled": "compiled-otherwise",
    "graphs-of": "recompiled",
    "tokens": "token-count",
    "growth": "token-count",
    "captured": "token-count",
    "content": "input-contents",
    "form": "input-form",
    "dtype": "input-dtype",
}
_COUNT = "Look for a tile, a grid, a buffer or a branch that is sized for fewer tokens, or for a number type that cannot count them."
_TOO_LARGE = (
    "A number type too narrow for the values, such as fp16 inside, or a clamp that is missing, or in the wrong place."
)
_NO_EXPERT = (
    "An id that names no expert must add nothing. As an index, -1 is the last expert, and in a kernel out of bounds."
)
_STRIDES = (
    "Something reads or writes the memory by the shape alone: pass the strides on, or make the input contiguous first."
)
CAUSES = {
    "torch": "The layer or its kernel asks for this mode and takes another path there, or relies on what the usual mode does.",
    "thread": "Something that the build put into thread-local memory is missing in another thread.",
    "thread=3": "Work is split by torch's number of threads, and a part of it is left out or done twice. Engines run with many.",
    "before": "The earlier call left something that this one uses: a buffer made under inference mode, or a state half changed.",
    "process": "Code that runs after the layer behaves differently, in this process and in its children.",
    "memory": "A list or a dictionary grows with each call, or a tensor refers to the one before it. Memory runs out after hours.",
    "other": "Something is held for all layers of the class: by its shape, by a name, or by no key at all. Hold it in the layer.",
    "other=16": "Something is held in a table for a fixed number of layers, or by a layer's place: the first layers are right.",
    "weights": "The layer computes with something that it derived from its weights earlier, or that state_dict does not hold: a "
    "repacked copy, a list of views, a Python number.",
    "inputs": "Something is cached by a tensor's address, its identity or its version. Another tensor may have the same, and "
    "the same tensor other contents.",
    "written": "The layer holds the tensor that it returned, and returns it or computes with it again.",
    "calls": "The layer counts its calls, or returns buffers in turn.",
    "traced": "A trace left a fake tensor in a cache, or a branch was decided in it.",
    "graphs": "The replay reads a value, a buffer or a branch that was fixed at the capture, or memory that later batches changed.",
    "sizes": "Look for a number type, a tile, an unrolled loop or a branch that holds for fewer.",
    "ranks": "The shards differ here, as they do in use: an index, an offset or a condition of the rank is wrong, or something is "
    "added on each rank that should be added once.",
    "compiled": "A branch on torch.compiler.is_compiling(), on the number of tokens or on a mode was traced, or a value is a "
    "constant of the graph.",
    "graphs-of": "A guard of the first graph fails: the graph depends on a number, a name or an object that differs from call to "
    "call, or from layer to layer. At the limit of eight, torch.compile gives up.",
    "tokens": f"A layer that was not called before is wrong too: it is the number of tokens that matters. {_COUNT}",
    "growth": _COUNT,
    "captured": _COUNT,
    "content=zero-row": "A token is divided by its own magnitude, which is zero: 0/0 is NaN. Clamp the divisor.",
    "content=special-rows": "Something tells padding from tokens by one value of a row, divides by what may be zero, or takes one "
    "scale for the whole batch, so that one row decides how exact another one is.",
    "content=logits-shifted": "A softmax does not take off the largest logit first: the exponentials overflow.",
    "content=logits-tied": "Equal logits are taken for one: mask the expert that was chosen, not every one of its value.",
    "content=same-rows": "Something tells tokens apart by their values, or one expert gets more tokens than it has room for.",
    "content=times-32": _TOO_LARGE,
    "content=times-512": _TOO_LARGE,
    "content=tiny": "A magnitude has a floor that these values lie below, or a number type that ends above them, such as fp16.",
    "content=zero-weights": "A weight of zero is taken for one that is missing, or is divided by.",
    "content=negative": "Something takes the magnitude of a value for the value, or a maximum that starts at zero.",
    "content=one-routing": "One expert gets every token, and another one none: look for room for fewer tokens of one expert.",
    "content=weights-above-one": "The routing weights are clamped, normalised once more, or in a format that ends at one.",
    "content=duplicate-ids": "An expert that a row names twice counts once: the routing is written where it must be added.",
    "content=minus-one": _NO_EXPERT,
    "content=minus-one-row": _NO_EXPERT,
    "content=minus-one-all": _NO_EXPERT,
    "content=id-experts": "An id equal to the number of experts must add nothing. Used as an index it is out of bounds.",
    "form=slice": _STRIDES,
    "form=transposed": _STRIDES,
    "form=compiled-slice": f"{_STRIDES} Inductor pads rows too.",
    "form=beside-nan": "What lies beside an input is read and multiplied by zero, and zero times NaN is NaN: read the input's own "
    "columns alone, or set the others to zero.",
    "form=row-offset": "Something begins at the storage's first element: add the storage offset.",
    "form=unaligned": "Wide loads need an aligned address: where it is not, the other path skips or repeats elements.",
    "form=requires-grad": "With an input that requires grad the layer takes another path, such as one for training.",
    "dtype=int64-ids": "Something reads the ids as 32-bit numbers whatever their dtype is: convert them, or raise.",
}
