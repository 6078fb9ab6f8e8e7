"""A worker's side of the audit: from a task, a kind of variants to try or a property to look at, to its answer."""

import importlib
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from harness.audit.context import Audited
from harness.audit.journal import journal_file
from harness.audit.ops import NoOp, devices, find, load_modules, registered_by
from harness.audit.plan import timed
from harness.audit.row import PROPERTIES, Seen, not_run
from harness.audit.samples import HOW, given
from harness.base.errors import BadInput
from harness.execution.device import choose_device
from harness.execution.pinned import pinned
from harness.findings.exception_text import first_line


def start(settings: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function from a task to its answer. Raises BadInput where modules or samples cannot be used."""
    torch.set_num_threads(1)
    load_modules(settings["modules"], settings["path"])
    device = choose_device(settings["device"])
    ops = {name: _prepared(name, settings, device) for name in settings["samples"]}

    def answer(task: dict[str, Any]) -> dict[str, Any]:
        audited = ops[task["op"]]
        with pinned():
            if "kind" in task:
                return timed(partial(_survey, audited, task["kind"]))
            return timed(partial(_look, audited, task["row"]))

    return answer


def discover(settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """A function that names the ops which the modules register."""
    return lambda _: {"ops": registered_by(settings["modules"], settings["path"])}


def _prepared(name: str, settings: dict[str, Any], device: torch.device) -> Audited | str:
    """The op with its samples; or why there is none."""
    try:
        op = find(name)
    except NoOp as error:
        return str(error)
    samples = given(op, settings["samples"][name], device)
    journal = journal_file(settings["folder"], name)
    return Audited.of(op, samples, device, journal, settings["variant"], tuple(settings["kinds"]))


def _survey(audited: Audited | str, kind: str) -> dict[str, Any]:
    if isinstance(audited, str):
        return {"accepted": [], "refused": [], "reason": audited}
    tried = audited.tried(kind)
    taken = {variant.label for variant, words in tried if words is None}
    refused = {variant.label: words for variant, words in tried if words is not None and variant.label not in taken}
    told = [f"{label}: {words}" for label, words in refused.items()]
    return {"accepted": sorted(taken), "refused": told, "reason": "" if taken else _unusable(audited)}


def _unusable(audited: Audited) -> str:
    """Why nothing of an op can be run; empty where its samples are to blame."""
    if not audited.samples:
        return f"no samples: {HOW}"
    here, there = audited.device.type, devices(audited.op)
    if here in there:
        return ""
    return f"needs {' or '.join(there)}: no implementation for {here}" if there else f"no implementation for {here}"


def _look(audited: Audited | str, name: str) -> dict[str, Any]:
    seen = not_run("there is no such op") if isinstance(audited, str) else look_at(audited, name)
    return asdict(seen)


def look_at(audited: Audited, name: str) -> Seen:
    """One property of an op. What fails in the audit itself is said, and is no word on the op."""
    needs = PROPERTIES[name].needs
    if needs != "schema" and not audited.samples:
        return not_run("there are no samples")
    if needs == "real" and not audited.accepted:
        return not_run(_reason(audited))
    module, _, function = PROPERTIES[name].check.partition(":")
    check = getattr(importlib.import_module(f"harness.audit.checks.{module}"), function)
    try:
        seen: Seen = check(audited)
    except BadInput:
        raise
    except Exception as error:  # the audit itself failed: no word on the op
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        return not_run(f"the audit itself failed: {type(error).__name__}: {first_line(error)} ({where})")
    return seen


def _reason(audited: Audited) -> str:
    crashed = audited.journal.last_crash
    if crashed and not audited.given:
        return f"the real implementation takes the process down ({crashed})"
    if audited.given:
        return f"no accepted variant is called {audited.only!r}"
    return _unusable(audited) or "the op refuses every sample"
