"""The calls of a script, which lead to the finding, and the check behind them."""

import re
import textwrap
from dataclasses import replace

from harness.execution.evidence import REPEATED
from harness.execution.modes.eager import ONE, larger_batch
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.repro.about import About
from harness.repro.texts import variations
from harness.repro.writing.capturing import addresses, captured, replayed
from harness.repro.writing.checks import Check
from harness.repro.writing.runs import OF_ONE_BATCH, Running

WITH_GRAD = ONE
"""The label of the call that eager makes in grad mode first."""
IN_INFERENCE = (REPEATED, "extra call")
"""The labels of the calls that eager makes under inference mode."""
# Calls that a mode makes in eager, whatever it is, by their labels: (tokens, seed).
_MORE_TOKENS = 9
_WIDE = 110
_CALL = re.compile(r"\brun\(((?:inputs\([^()]*\)|\w+))\)")


def tail(about: About, check: Check, running: Running, all_calls: bool) -> str:
    """The calls and the check. Without a function ``run``, the layer is called."""
    text = "\n".join(line for line in _lines(about, check, all_calls) if line)
    return text if "def run(" in running.text else _CALL.sub(r"layer(*\1)", text)


def stands_before(check: Check) -> bool:
    """Whether what a check does before the call does not read the inputs."""
    return "batch" not in check.before or "def " in check.before


def plan(case: Case, label: str, vary: str = "") -> list[tuple[int, int]]:
    """The calls up to the one with this label, as (tokens, seed). A label that no mode has stands for the first call.

    ``vary`` is the finding's variation.
    """
    if vary:
        return variations.calls_of(vary, case.tokens)
    many = larger_batch(case.tokens)
    few = case.tokens
    eager = {
        "first call": (few, 0),
        "second call": (few, 1),
        "more tokens": (many, 1),
        ONE: (1, 2),
        "zero tokens": (0, 3),
        REPEATED: (few, 0),
    }
    if label == "extra call":
        return [(few, 0), (few, 1), *[(few, 1 + turn % 2) for turn in range(8)]]
    if label in eager:
        names = list(eager)
        return [eager[name] for name in names[: names.index(label) + 1]]
    if label == "other token count":
        return [(max(few, 2), 0), (max(few, 2) + _MORE_TOKENS, 1)]
    if label == "symbolic trace":
        return [(max(few, 2), 0)]
    return [(few, 0)]


def _lines(about: About, check: Check, all_calls: bool) -> list[str]:
    finding, case = about.symptom.finding, about.case
    if finding.kind == "not-built":
        return []
    if finding.kind == "freed-memory":
        return [addresses(about)]
    if about.at_capture and case.tokens and finding.kind not in OF_ONE_BATCH:
        case = replace(case, tokens=int(finding.vary.partition("=")[2])) if finding.vary else case
        return [captured(case), *([] if finding.kind == "capture-refused" else [replayed(case)]), check.after]
    return _called(about, check, all_calls)


def _called(about: About, check: Check, all_calls: bool) -> list[str]:
    finding = about.symptom.finding
    *before, (tokens, seed) = _planned(about, check, all_calls)
    lines = _earlier(finding)
    for index, (count, number) in enumerate(before):
        lines.append(f"{'first = ' if check.twice and not index else ''}run(inputs({count}, {number}))")
        lines += ["copy = first.clone()"] if check.twice and not index else []
    if finding.kind == "padding-tokens-leak" and all_calls:  # it may show in the call after
        lines += [f"batch = inputs({tokens}, {seed + 1})", check.before, "run(batch)"]
    change = variations.change_of(finding, all_calls)
    lines += [f"batch = [*inputs({tokens}, {seed})]", change] if change else [f"batch = inputs({tokens}, {seed})"]
    if finding.kind == "writes-beside":
        ahead, behind = variations.BESIDE
        return [*lines, ahead, "out = run(batch)", behind]
    call = "out = run(batch)"
    around = [f"with {check.around}:", f"    {call}"] if check.around else [call]
    return [*lines, *([] if stands_before(check) else [check.before]), *around, check.after]


def _earlier(finding: Finding) -> list[str]:
    """The calls that must come before, where they are many."""
    counts = finding.detail.get("earlier")
    if not isinstance(counts, list):
        return []
    rows = textwrap.fill(", ".join(map(str, counts)), _WIDE, initial_indent="    ", subsequent_indent="    ")
    return [f"for tokens in (\n{rows},\n):\n    run(inputs(tokens, 0))"]


def _planned(about: About, check: Check, all_calls: bool) -> list[tuple[int, int]]:
    """The calls that are made: all of the mode's, or the last one and those that the check compares."""
    finding = about.symptom.finding
    calls = plan(about.case, finding.call, finding.vary)
    if finding.kind == "padding-tokens-leak":
        calls = [(about.bucket, 0)]
    if finding.kind == "output-overwritten" and about.mode.family == "cudagraph":
        calls = [(about.bucket, 0), (about.bucket, 1)]
    if finding.kind == "output-overwritten" and finding.vary.startswith(variations.TOKENS):
        calls = [(calls[-1][0], seed) for seed in (0, 1)]  # the first call's own count has another buffer
    if "earlier" in finding.detail:
        calls = [(int(str(finding.detail["tokens"])), 1)]
    return calls if all_calls or check.all_calls else calls[:1] * check.twice + calls[-1:]
