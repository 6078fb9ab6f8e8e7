"""Bisect: which layer of the compiler a finding of a compiled mode comes from, by torch's own CompilerBisector."""

import contextlib
import io
from dataclasses import replace
from typing import Any

import torch

from harness.case import Case
from harness.finding import Finding, Verdict
from harness.judge import judge
from harness.modes import MODES, ModeInfo
from harness.subject import Subject

EAGER = "none: eager shows it too"
FAKE = "fake kernel"
_LAYERS = {
    "eager": "dynamo",
    "aot_eager": "aot_eager",
    "aot_eager_decomp_partition": "aot_eager (decompositions and partitioner)",
    "aot_eager_decomp_partition_crossref": FAKE,
    "inductor": "Inductor",
}
# They read the graphs that our own backend notes; the bisector puts torch's backends in its place.
_OF_GRAPHS = {"dispatch", "collectives", "recompiles"}
_told: dict[tuple[str, ...], str] = {}


def name_guilty(verdict: Verdict, subject: Subject, case: Case, mode: ModeInfo, device: torch.device) -> Verdict:
    """The verdict with the guilty layer in each finding of a compiled mode; any other verdict as it is.

    A kind of finding is bisected once in a process: that takes a second or two. What goes wrong in bisecting is told in
    the layer's place.
    """
    if mode.family != "compiled" or not verdict.findings:
        return verdict
    for finding in verdict.findings:
        key = _key(verdict, finding)
        if key not in _told:
            _told[key] = _guilty(finding, subject, case, mode, device)
    named = (_told[_key(verdict, finding)] for finding in verdict.findings)
    return replace(
        verdict,
        findings=tuple(replace(finding, guilty=layer) for finding, layer in zip(verdict.findings, named, strict=True)),
    )


def _key(verdict: Verdict, finding: Finding) -> tuple[str, ...]:
    return verdict.subject, verdict.mode, finding.observer, finding.kind, finding.stage


def _guilty(finding: Finding, subject: Subject, case: Case, mode: ModeInfo, device: torch.device) -> str:
    try:
        plain = judge(subject, case, MODES["eager"], device).findings
        if any(seen.observer == "contract" for seen in plain):
            return FAKE  # the bisector's own check of fakes compares no strides
        if finding.observer == "build" or any((s.observer, s.kind) == (finding.observer, finding.kind) for s in plain):
            return EAGER
        if finding.observer in _OF_GRAPHS:
            return "dynamo"  # they are about the graph that it made
        return _bisected(subject, case, mode, device)
    except Exception as error:
        return f"not decided: {type(error).__name__}: {error}"


def _bisected(subject: Subject, case: Case, mode: ModeInfo, device: torch.device) -> str:
    from torch._inductor.compiler_bisector import CompilerBisector

    def good() -> bool:
        verdict = judge(subject, case, mode, device)
        return not any(finding.observer not in _OF_GRAPHS for finding in verdict.findings)

    bisector: Any = CompilerBisector
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            result = bisector.do_bisect(good)
            bisector.delete_bisect_status()
    finally:  # its own end comes when the collector finds it; until then every compile would go by its backend
        bisector.bisection_enabled, bisector.in_process_cache = False, None
    if result is None:
        return "not decided: torch's bisector sees it with none of its backends"
    parts = [_LAYERS.get(result.backend, result.backend), result.subsystem, result.debug_info]
    return ", ".join(dict.fromkeys(part for part in parts if part))
