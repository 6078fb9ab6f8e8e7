"""The whole script: what it shows, imports, the layer, how it is run, and the check."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

from harness.repro.about import About
from harness.repro.texts.scenario import Scenario
from harness.repro.texts.scenarios import scenario_of, text_of
from harness.repro.texts.values import finer
from harness.repro.writing import calls, checks, runs
from harness.repro.writing.checks import Check
from harness.repro.writing.imported import BUILT
from harness.repro.writing.layout import docstring, imports, laid_out
from harness.repro.writing.parts import Parts
from harness.repro.writing.runs import Running

# Kinds that a layer shows whose weights are zeros.
_OF_SHAPES = (
    *("wrong-shape", "strided-output", "wrong-dtype", "not-contiguous", "collective-count", "never-dispatched"),
    *("specialised", "recompiled", "fake-differs", "fake-impure", "no-fake", "signature"),
    *("mutated-input", "undeclared-alias", "untrue-alias"),
)

Change = Callable[[str], str]
# The text of a check as it is, and with a finer comparison of values.
_FINENESS: tuple[Change, ...] = (str, finer)


def scripts(about: About, parts: Parts) -> Iterator[str]:
    """Scripts for a symptom, the shortest first: it may need the calls before it, grad mode or inference mode, a finer check."""
    if parts.shapes_only and not about.symptom.error and about.symptom.finding.kind not in _OF_SHAPES:
        return
    scenario = scenario_of(about.symptom.finding, about.device)
    if scenario is None:
        yield from dict.fromkeys(_of_calls(about, parts))
    elif not (parts.standalone and scenario.needs_subject):
        yield from dict.fromkeys(_of_scenario(about, parts, scenario, change) for change in _FINENESS)


def _of_calls(about: About, parts: Parts) -> Iterator[str]:
    call = about.symptom.finding.call
    grads = (False, True) if call == calls.WITH_GRAD else (False,)
    inference = (False, True) if call in calls.IN_INFERENCE else (False,)
    for change in _FINENESS:
        for infers, grad, all_calls in product(inference, grads, (False, True)):
            yield _script(about, parts, all_calls, grad, infers, change)


def _script(about: About, parts: Parts, all_calls: bool, grad: bool, infers: bool, change: Change) -> str:
    """``change`` makes the text of the check another one."""
    check, running = checks.check_of(about), runs.running_of(about)
    if infers:
        check = replace(check, around=", ".join(filter(None, ("torch.inference_mode()", check.around))))
    tail = about.filled(change(calls.tail(about, check, running, all_calls)))
    head = about.filled(check.before) if calls.stands_before(check) else ""
    oracle = parts.oracle if "oracle(" in tail else ""
    layer = parts.text if _calls_fakes(about, check, running) else parts.without_fakes or parts.text
    runs_it = about.filled(running.text)
    body = [layer, oracle, runs_it, head, tail]
    if check.ahead:
        body = [head, layer, oracle, runs_it, tail]
    text = "\n\n".join(part for part in (f"torch.set_grad_enabled({grad})", *body) if part)
    lines = imports((*parts.imports, *running.imports, *check.imports), text)
    return laid_out(f"{docstring(about, parts, running.stands_in)}\n{lines}\n\n{text}\n")


def _of_scenario(about: About, parts: Parts, scenario: Scenario, change: Change) -> str:
    """The script of a variation that is several calls, or several layers."""
    tail = about.filled(change(text_of(scenario, bool(about.symptom.error), checks.check_of_form(about))))
    layer = parts.text.replace(BUILT, about.filled(scenario.build)) if scenario.build else parts.text
    oracle = parts.oracle if "oracle(" in tail else ""
    text = "\n\n".join(part for part in ("torch.set_grad_enabled(False)", layer, oracle, tail) if part)
    lines = imports((*parts.imports, *scenario.imports, "import copy"), text)
    return laid_out(f"{docstring(about, parts, about.filled(scenario.stands_in))}\n{lines}\n\n{text}\n")


def _calls_fakes(about: About, check: Check, running: Running) -> bool:
    """Whether the script calls the fakes of the layer's ops."""
    return check.calls_fakes or running.calls_fakes or "compile" in about.symptom.finding.vary
