"""How far a layer is right where one thing is varied: ``right at 7 tokens, wrong at 65``."""

from collections.abc import Callable

from torch import Tensor

from harness.execution.evidence import CALL_WITH, WHEN_RETURNED, Call, Run
from harness.observers.values import difference_of
from harness.observers.variations.causes import depends_on_earlier
from harness.ops.finite import all_finite

LISTED = 8


def is_wrong(run: Run, call: Call) -> bool:
    """Whether a varied call's output has the right shape and other values than the oracle's."""
    output = call.snapshot
    if (
        not isinstance(output, Tensor)
        or call.expected is None
        or output.shape != (call.tokens, run.case_of(call).hidden)
    ):
        return False
    return not all_finite(output) or difference_of(call) is not None


def account(run: Run, call: Call) -> str:
    """What was varied, and how far the layer is right."""
    assert call.varied is not None
    if depends_on_earlier(call):
        return _after_earlier(run, call)
    if call.reference == WHEN_RETURNED or call.by_row:
        return _of_another(run, call)
    return (ACCOUNTS.get(call.varied.name) or ACCOUNTS.get(call.varied.group, _plainly))(run, call)


def _after_earlier(run: Run, call: Call) -> str:
    """What was called, and that a layer which was not called before is right."""
    assert call.varied is not None
    if call.of_process:
        return f"{call.label}: {_fails(call)} after other requests in the process; right where it is the first{_narrow(call)}"
    place = run.calls.index(call)
    # Calls of token counts are in the order of the counts.
    known = place > 0 and call.varied.group != "tokens"
    last = f", the last time in the {run.calls[place - 1].label}" if known else ""
    return f"{call.label}: {_fails(call)} on a layer that was called before{last}; right on another one{_narrow(call)}"


def _plainly(run: Run, call: Call) -> str:
    """What was varied, beside the plain call that is right."""
    assert call.varied is not None
    first = run.calls[0]
    how = f"{_fails(call)} for {call.label.removeprefix(CALL_WITH)}"
    own = f", and for a replay of a graph for {_tokens(call.own_count_too)} too" if call.own_count_too else ""
    return f"right for {_tokens(first.tokens)} of random values, {how}{own}"


def _by_tokens(run: Run, call: Call) -> str:
    """From which token count on the layer is wrong, or at which counts where larger ones are right."""
    calls = sorted((c for c in run.calls if c.varied is None or c.varied.group == "tokens"), key=lambda c: c.tokens)
    bad = {c.tokens for c in calls if c.error or is_wrong(run, c)}
    good = {c.tokens for c in calls} - bad
    smaller = [count for count in good if count < call.tokens]
    before = f"right at {_tokens(max(smaller or good))}, " if good else ""
    larger = sorted(count for count in good if count > call.tokens)
    if larger:
        return f"{before}{_fails(call)} at {_listed(sorted(bad))}; right again at {_listed(larger)}{_narrow(call)}"
    others = " and at each larger count that was tried" if len(bad) > 1 else ""
    return f"{before}{_fails(call)} at {call.tokens:,}{others}{_narrow(call)}"


def _narrow(call: Call) -> str:
    """Of which other layer a call is that the verdict's case does not say."""
    if call.case is None:
        return ""
    padded = f", padded to {call.case.padded}" if call.case.padded != call.case.width else ""
    return f" (a layer as narrow as can be: a width of {call.case.width}{padded})"


def _listed(counts: list[int]) -> str:
    """``129``; ``65, 97 and 127``; ``41 to 60 and 97``; the first few and the largest where there are many."""
    runs: list[list[int]] = []
    for count in counts:
        if runs and count == runs[-1][-1] + 1:
            runs[-1].append(count)
        else:
            runs.append([count])
    texts = [_run(one) for one in runs]
    if len(texts) > LISTED:
        texts = [*texts[: LISTED - 1], f"{len(texts) - LISTED} more", texts[-1]]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _run(counts: list[int]) -> str:
    """Counts that follow each other, as text."""
    few = [f"{count:,}" for count in counts]
    return ", ".join(few) if len(few) < 3 else f"{few[0]} to {few[-1]}"


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


def _of_another(run: Run, call: Call) -> str:
    """What was varied, and whose output it should be."""
    whose = f"differs from {call.reference}" if call.reference and not call.error else _fails(call)
    assert call.varied is not None
    shards = f", where {call.same_shards}" if call.same_shards else ""
    how = "" if call.label == call.varied.words else f" ({call.label}{shards})"
    alone = "; right where all calls before have the same inputs" * call.by_other_inputs
    return f"{call.varied.words}: {whose}{how}{alone}{call.limit and f'; {call.limit}'}"


_SURROUNDINGS = (
    "torch",
    "thread",
    "before",
    "memory",
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
ACCOUNTS: dict[str, Callable[[Run, Call], str]] = {
    **dict.fromkeys((*_SURROUNDINGS, "compiled"), _of_another),
    "tokens": _by_tokens,
    **dict.fromkeys(("form", "compiled=slice"), _of_form),
}
