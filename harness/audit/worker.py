"""The worker of an audit. A task is a kind of variants to try, or a property to check."""

import importlib
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import torch

from harness.audit.calling.attempts import WIDENED
from harness.audit.context import AuditedOp
from harness.audit.journal import MADE_UP, Journal, journal_file
from harness.audit.making.samples import made_up, taken
from harness.audit.ops import UnknownOp, devices, find, load_modules, registered_by, unregistered
from harness.audit.plan import timed
from harness.audit.registrations import implementations, observe
from harness.audit.row import NO_VARIANT, PROPERTIES, CheckResult, not_run
from harness.audit.samples import HOW, Sample, given
from harness.audit.variants.variant import GUARD, MULTIPLE
from harness.audit.wording import variant_name
from harness.base.errors import BadInput
from harness.base.exception_text import first_line
from harness.base.source import is_library
from harness.execution.device import choose_device
from harness.execution.pinned import pinned
from harness.ops.registry import registered
from harness.workers.importing import importing

_MAKING = "making up"
# This row looks at the fake, at sizes that the real implementation accepts.
_BY_ACCEPTED_SIZES = "dynamic shapes"


def start(settings: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns a function from a task to its answer. Raises BadInput if modules or samples cannot be used."""
    torch.set_num_threads(1)
    observe()
    with importing(", ".join(settings["modules"]) or "the ops' modules"):
        load_modules(settings["modules"], settings["path"], settings.get("optional", ()))
    device = choose_device(settings["device"])
    _require_one(list(settings["samples"]))
    prepared = cache(partial(_prepared, settings=settings, device=device))
    for name in filter(settings["samples"].get, settings["samples"]):
        prepared(name)  # a samples function that cannot be used is bad input before anything is run

    def answer(task: dict[str, Any]) -> dict[str, Any]:
        audited = prepared(task["op"])
        with pinned(), nullcontext() if isinstance(audited, str) else audited.fillable():
            if "kind" in task:
                return timed(partial(_survey, audited, task["kind"]))
            return timed(partial(_look, audited, task["row"]))

    return answer


def _require_one(ops: list[str]) -> None:
    """Raise BadInput if torch has none of the ops: there is nothing to audit. One of several is told in its row."""
    missing = list(filter(None, map(unregistered, ops)))
    if missing and len(missing) == len(ops):
        raise BadInput("; ".join(missing))


def discover(settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Returns a function that gives the names of the ops that the modules register, and which of ``optional`` failed."""
    observe()
    found = partial(registered_by, settings["modules"], settings["path"], settings["optional"])
    return lambda _: found()._asdict()


def _prepared(name: str, settings: dict[str, Any], device: torch.device) -> AuditedOp | str:
    """The op with its samples, or the reason why there is none."""
    try:
        op = find(name)
    except UnknownOp as error:
        return str(error)
    journal = journal_file(settings["folder"], name)
    simple = samples = given(op, settings["samples"][name], device)
    lacking = ""
    if device.type == "cpu" and not settings["samples"][name] and op.name() not in registered():
        samples, lacking = _made_up(op, samples, Journal(journal))
    kinds, sizes = tuple(settings["kinds"]), tuple(settings["sizes"])
    audited = AuditedOp.of(op, samples, device, journal, settings["variant"], kinds, sizes, lacking)
    audited.made_up = bool(samples) and samples is not simple
    return audited


def _made_up(op: torch._ops.OpOverload, simple: list[Sample], journal: Journal) -> tuple[list[Sample], str]:
    """Arguments that the op's Python takes, or why there are none. ``simple`` samples do where it takes them.

    Where the search ended the process, it is left, and the simple samples show whether they end it too.
    """
    if journal.crashed(_MAKING):
        return simple, "arguments that the harness makes up end the process"
    if not implementations(op):
        return simple, ""
    journal.begin(_MAKING, MADE_UP)
    samples, lacking = (simple, "") if any(taken(op, one) for one in simple) else made_up(op)
    journal.end(_MAKING, lacking or None)
    return samples or simple, lacking


def _survey(audited: AuditedOp | str, kind: str) -> dict[str, Any]:
    if isinstance(audited, str):
        return {"accepted": [], "refused": [], "reason": audited, "demands": []}
    try:
        attempts = audited.attempts(kind)
    except BadInput:
        raise
    except Exception as error:  # a failure of the audit's own says nothing about the op, and must not look like a crash
        reason = f"the audit itself failed: {type(error).__name__}: {first_line(error)}"
        return {"accepted": [], "refused": [], "reason": reason, "demands": []}
    accepted = {variant.label for variant, error in attempts if error is None}
    refused: dict[str, str] = {}
    for variant, why in attempts:  # the first of a label is what the label says; others change less
        if why is not None and why != WIDENED and variant.label not in accepted:
            refused.setdefault(variant.label, why)
    refusals = [f"{variant_name(label)}: {error}" for label, error in refused.items()]
    if kind == MULTIPLE:  # these are refused on purpose
        judged = [] if audited.given else sorted(accepted)
        return {"accepted": judged, "refused": [], "reason": "", "demands": _notes(audited)}
    refusals = [] if kind == GUARD else refusals  # those of the same sizes without guard rows say it already
    reason = "" if accepted else _unusable(audited)
    return {"accepted": sorted(accepted), "refused": refusals, "reason": reason, "demands": []}


def _notes(audited: AuditedOp) -> list[str]:
    """What is said beside the variants: that the arguments are made up, and what multiples the op needs."""
    made_up = (
        ["the arguments are made up, by the names of the parameters and what the op refuses"] if audited.made_up else []
    )
    return made_up + audited.demands()


def _unusable(audited: AuditedOp) -> str:
    """Why an op cannot be run here; empty if only its samples are at fault."""
    if not audited.samples:
        return f"no samples: {audited.lacking + '; ' if audited.lacking else ''}{HOW}"
    here, there = audited.device.type, devices(audited.op)
    if here in there:
        return ""
    return f"needs {' or '.join(there)}: no implementation for {here}" if there else f"no implementation for {here}"


def _look(audited: AuditedOp | str, name: str) -> dict[str, Any]:
    result = not_run("there is no such op") if isinstance(audited, str) else look_at(audited, name)
    return asdict(result)


def look_at(audited: AuditedOp, name: str) -> CheckResult:
    """Check one property of an op. If the check itself fails, the result is 'not run'."""
    try:
        return _checked(audited, name)
    except BadInput:
        raise
    except Exception as error:  # the check itself failed: this says nothing about the op
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        who = "the audit itself failed" if is_library(place.filename) else "the op raises on what this row gives it"
        return not_run(f"{who}: {type(error).__name__}: {first_line(error)} ({where})")


def _checked(audited: AuditedOp, name: str) -> CheckResult:
    needs = PROPERTIES[name].needs
    if needs != "schema" and not audited.samples:
        return not_run("there are no samples")
    if (needs == "real" or name == _BY_ACCEPTED_SIZES) and not audited.accepted:
        return not_run(_reason(audited))
    module, _, function = PROPERTIES[name].check.partition(":")
    check = getattr(importlib.import_module(f"harness.audit.checks.{module}"), function)
    result: CheckResult = check(audited)
    return result


def _reason(audited: AuditedOp) -> str:
    crashed = audited.journal.last_crash
    if crashed and not audited.given:
        return f"the real implementation crashes the process ({crashed})"
    if audited.given:
        return f"{NO_VARIANT} {audited.only!r}"
    return _unusable(audited) or "the op refuses every sample"
