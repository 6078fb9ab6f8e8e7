"""Bisect: which layer of the compiler a finding of a compiled mode comes from, by torch's own CompilerBisector."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from harness.findings.exception_text import first_line
from harness.findings.finding import FINDINGS, OK, Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES, ModeInfo
from harness.subjects.subject import Subject
from harness.verdict.judge import judge

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
# For all findings of one verdict: a case gets five times that, and a bisection must never cost a verdict.
_SECONDS = 60.0
_told: dict[tuple[str, ...], str] = {}
_Found = set[tuple[str, str]]


class _TooLongError(Exception):
    """The time for bisecting is up."""


def name_blame(verdict: Verdict, subject: Subject, case: Case, mode: ModeInfo, device: torch.device) -> Verdict:
    """The verdict with the blamed layer in each finding of a compiled mode; any other verdict as it is.

    A kind of finding is bisected once in a process: that takes a second or two. What goes wrong in bisecting is told in
    the layer's place.
    """
    if mode.family != "compiled" or not verdict.findings:
        return verdict
    until = time.monotonic() + _SECONDS
    plain = cache(lambda: _findings(judge(subject, case, MODES["eager"], device)))
    for finding in verdict.findings:
        key = _key(verdict, finding)
        if key not in _told:
            _told[key] = _blame(finding, plain, lambda: _good(judge(subject, case, mode, device), plain(), until))
    named = (_told[_key(verdict, finding)] for finding in verdict.findings)
    return replace(
        verdict,
        findings=tuple(replace(finding, blame=layer) for finding, layer in zip(verdict.findings, named, strict=True)),
    )


def _key(verdict: Verdict, finding: Finding) -> tuple[str, ...]:
    return verdict.subject, verdict.mode, finding.observer, finding.kind, finding.stage


def _blame(finding: Finding, plain: Callable[[], _Found], good: Callable[[], bool]) -> str:
    try:
        lies = any(observer == "contract" for observer, _ in plain())
        if finding.observer == "contract" and lies:
            return FAKE
        if finding.observer == "build" or (finding.observer, finding.kind) in plain():
            return EAGER
        if finding.observer in _OF_GRAPHS:
            return "dynamo"  # they are about the graph that it made
        if lies and finding.observer != "graph breaks":
            return FAKE  # the bisector's own check of fakes compares no strides
        return _bisected(good)
    except Exception as error:
        return f"not decided: {type(error).__name__}: {first_line(error)}"


def _findings(verdict: Verdict) -> _Found:
    """The observer and kind of each finding. Raises RuntimeError where nothing was judged."""
    if verdict.status not in (OK, FINDINGS):
        raise RuntimeError(f"{verdict.status}, {verdict.reason}")
    return {(finding.observer, finding.kind) for finding in verdict.findings}


def _good(verdict: Verdict, plain: _Found, until: float) -> bool:
    """Whether nothing is found that eager does not show. Another backend may show a fault by another kind of finding."""
    if time.monotonic() > until:
        raise _TooLongError
    return all(observer in _OF_GRAPHS for observer, _ in _findings(verdict) - plain)


def _bisected(good: Callable[[], bool]) -> str:
    from torch._inductor.compiler_bisector import CompilerBisector

    bisector: Any = CompilerBisector
    with contextlib.redirect_stdout(io.StringIO()), _own_state(bisector):
        try:
            result = _result(bisector, good)
        except _TooLongError:
            known = f"{_LAYERS[bisector.get_backend()]}, not looked into further" if bisector.get_subsystem() else ""
            return f"{known or 'not decided'}: it took more than {_SECONDS:.0f} s"
    if result is None:
        return "not decided: torch's bisector sees it with none of its backends"
    parts = [_LAYERS.get(result.backend, result.backend), result.subsystem, result.debug_info]
    return ", ".join(dict.fromkeys(part for part in parts if part))


def _result(bisector: Any, good: Callable[[], bool]) -> Any:
    """Step by step, as torch's own command line does it, which exits after each step.

    In one go it would keep its state until its frame is collected, which the tracebacks of what failed in it hold: then
    it would delete the state of the bisection that runs at that time.
    """
    while True:
        with contextlib.suppress(SystemExit):
            return bisector.do_bisect(good, cli_interface=True)


@contextlib.contextmanager
def _own_state(bisector: Any) -> Iterator[None]:
    """A folder of our own for what it keeps: processes share Inductor's cache folder, where it would be else."""
    with tempfile.TemporaryDirectory() as folder:
        bisector.bisection_enabled, bisector.in_process_cache = True, folder
        try:
            yield
        finally:
            bisector.bisection_enabled, bisector.in_process_cache = False, None
