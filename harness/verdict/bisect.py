"""Bisect: name the compiler layer that a finding of a compiled mode comes from, with torch's CompilerBisector."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_utils import CrossRefFakeMode

from harness.base.exception_text import first_line
from harness.findings.finding import FINDINGS, OK, Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES, ModeInfo
from harness.ops.higher_order import is_higher_order
from harness.subjects.subject import Subject
from harness.verdict.judge import judge

EAGER = "none: eager shows it too"
FAKE = "fake kernel"
DYNAMO = "dynamo"
_LAYERS = {
    "eager": DYNAMO,
    "aot_eager": "aot_eager",
    "aot_eager_decomp_partition": "aot_eager (decompositions and partitioner)",
    "aot_eager_decomp_partition_crossref": FAKE,
    "inductor": "Inductor",
}
# These observers read the graphs that the harness's own backend records. The bisector replaces that backend with torch's,
# so they have nothing to look at during a bisection.
_OF_GRAPHS = {"dispatch", "collectives", "recompiles"}
# The limit for all findings of one verdict. A case gets five times as long, so a bisection never costs a verdict.
_SECONDS = 60.0
_blame_by_kind: dict[tuple[str, ...], str] = {}
_FindingKeys = set[tuple[str, str]]


class _TooLongError(Exception):
    """The time for bisecting is up."""


def name_blame(verdict: Verdict, subject: Subject, case: Case, mode: ModeInfo, device: torch.device) -> Verdict:
    """Name the blamed compiler layer in each finding of a compiled mode. Other verdicts come back unchanged.

    Each kind of finding is bisected once per process, since a bisection takes a second or two. If the bisection itself
    fails, the blame says why.
    """
    if mode.family != "compiled" or not verdict.findings:
        return verdict
    deadline = time.monotonic() + _SECONDS
    in_eager = cache(lambda: _findings(judge(subject, case, MODES["eager"], device)))
    for finding in verdict.findings:
        key = _key(verdict, finding)
        if key not in _blame_by_kind:
            _blame_by_kind[key] = _blame(
                finding, in_eager, lambda: _good(judge(subject, case, mode, device), in_eager(), deadline)
            )
    layers = (_worded(finding, _blame_by_kind[_key(verdict, finding)]) for finding in verdict.findings)
    return replace(
        verdict,
        findings=tuple(replace(finding, blame=layer) for finding, layer in zip(verdict.findings, layers, strict=True)),
    )


def _worded(finding: Finding, layer: str) -> str:
    """The layer, with what it does there where it is the layer's own code that Dynamo cannot trace, or takes a size from."""
    if layer == DYNAMO and "fake_of" in finding.detail:
        return FAKE
    if layer != DYNAMO or finding.what.startswith("InternalTorchDynamoError"):
        return layer
    if finding.kind == "graph-break" or finding.detail.get("failure") == "data-dependent":
        return f"{layer}, which refuses the layer's code"
    return f"{layer}, which follows the layer's code" if finding.kind == "specialised" and finding.line else layer


def _key(verdict: Verdict, finding: Finding) -> tuple[str, ...]:
    return verdict.subject, verdict.mode, finding.observer, finding.kind, finding.stage


def _blame(finding: Finding, in_eager: Callable[[], _FindingKeys], good: Callable[[], bool]) -> str:
    try:
        wrong_fake = any(observer == "contract" and kind != "op-raised" for observer, kind in in_eager())
        if finding.observer == "contract" and wrong_fake:
            return FAKE
        if finding.observer == "build" or (finding.observer, finding.kind) in in_eager():
            return EAGER
        if finding.observer in _OF_GRAPHS:
            return DYNAMO  # these findings are about the graph that Dynamo made
        if wrong_fake and finding.observer != "graph breaks":
            return FAKE  # the bisector's own check of fakes does not compare strides
        return _bisected(good)
    except Exception as error:
        return f"not decided: {_why(error)}"


def _findings(verdict: Verdict) -> _FindingKeys:
    """The observer and kind of each finding. Raises RuntimeError if the case was not judged."""
    if verdict.status not in (OK, FINDINGS):
        raise RuntimeError(f"{verdict.status}, {verdict.reason}")
    return {(finding.observer, finding.kind) for finding in verdict.findings}


def _good(verdict: Verdict, in_eager: _FindingKeys, deadline: float) -> bool:
    """Whether the verdict has no finding that eager lacks. The kind is ignored: each backend may show a fault differently."""
    if time.monotonic() > deadline:
        raise _TooLongError
    return all(observer in _OF_GRAPHS for observer, _ in _findings(verdict) - in_eager)


def _bisected(good: Callable[[], bool]) -> str:
    from torch._inductor.compiler_bisector import CompilerBisector

    bisector: Any = CompilerBisector
    with contextlib.redirect_stdout(io.StringIO()), _own_state(bisector), _passes_higher_order():
        try:
            result = _result(bisector, good)
        except Exception as error:
            if not bisector.get_subsystem() and not isinstance(error, _TooLongError):
                raise
            known = (
                f"{_LAYERS[bisector.get_backend()]}, not narrowed down" if bisector.get_subsystem() else "not decided"
            )
            return f"{known}: {_why(error)}"
    if result is None:
        return "not decided: torch's bisector reproduces it with none of its backends"
    parts = [_LAYERS.get(result.backend, result.backend), result.subsystem, result.debug_info]
    return ", ".join(dict.fromkeys(part for part in parts if part))


def _why(error: Exception) -> str:
    if isinstance(error, _TooLongError):
        return f"it took more than {_SECONDS:.0f} s"
    return f"{type(error).__name__}: {first_line(error)}"


def _result(bisector: Any, good: Callable[[], bool]) -> Any:
    """Bisect one step at a time, as torch's command line does. It exits after each step.

    In a single call, torch keeps its state in a frame that the tracebacks of failed runs keep alive. Once that frame is
    collected, torch deletes the state of whichever bisection is running then.
    """
    while True:
        with contextlib.suppress(SystemExit):
            return bisector.do_bisect(good, cli_interface=True)


@contextlib.contextmanager
def _passes_higher_order() -> Iterator[None]:
    """Let torch's check of fakes pass higher-order operators on. It raises at one, such as that around an op that writes."""
    plain = CrossRefFakeMode.__torch_dispatch__

    def dispatch(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {})) if is_higher_order(func) else plain(mode, func, types, args, kwargs)

    with (
        mock.patch.object(CrossRefFakeMode, "__torch_dispatch__", dispatch),
        mock.patch.object(CrossRefFakeMode, "supports_higher_order_operators", True, create=True),
    ):
        yield


@contextlib.contextmanager
def _own_state(bisector: Any) -> Iterator[None]:
    """Give the bisector a private folder. By default it uses Inductor's cache folder, which processes share."""
    with tempfile.TemporaryDirectory() as folder:
        bisector.bisection_enabled, bisector.in_process_cache = True, folder
        try:
            yield
        finally:
            bisector.bisection_enabled, bisector.in_process_cache = False, None
