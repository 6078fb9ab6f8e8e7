"""A subject that takes from the process what torch and the harness need: what then fails, such as a fake, is not to blame."""

import re
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.findings.finding import FINDINGS, Finding

_RECURSION = sys.getrecursionlimit()  # before any module of a user was imported
_LIMITS = {
    resource.RLIMIT_NOFILE: ("open files", r"Too many open files"),
    resource.RLIMIT_AS: ("memory", r"MemoryError|can't allocate memory|Cannot allocate memory|can't start new thread"),
    resource.RLIMIT_FSIZE: ("the size of a file", r"File too large"),
}
_SOFT = {limit: resource.getrlimit(limit)[0] for limit in _LIMITS}
_DEVICE = torch.get_default_device()
_NONE = {name for name in sys.modules if sys.modules[name] is None}


@dataclass(frozen=True, slots=True)
class Damage:
    """What was changed, the pattern of the errors that follow from it, why nobody else is to blame, and what to remove."""

    what: str
    raised: str
    why: str
    call: str


def damages() -> tuple[Damage, ...]:
    """What the process lacks now that it had at first."""
    return (*_recursion(), *_limits(), *_modules(), *_device())


def with_damage(
    status: str, reason: str, findings: Sequence[Finding], damaged: Sequence[Damage]
) -> tuple[str, str, tuple[Finding, ...]]:
    """The status, the reason and the findings, in which one of the damage replaces what followed from it."""
    if not (reason or findings):
        return status, reason, ()
    # Where the damage was done at import, the verdict may end before anything is looked at.
    for damage in damaged or damages():
        followed = [finding for finding in findings if re.search(damage.raised, finding.what)]
        error = re.search(damage.raised, followed[0].what if followed else reason)
        if error:
            others = tuple(finding for finding in findings if finding not in followed)
            return FINDINGS, "", (_finding(damage, error[0], followed[0] if followed else None), *others)
    return status, reason, tuple(findings)


def _finding(damage: Damage, error: str, first: Finding | None) -> Finding:
    return Finding(
        observer="global state",
        kind="global-state",
        stage="layer",
        what=f"{damage.what}, and a call then raised {error}",
        cause=f"Neither torch nor an op's fake is wrong: {damage.why}. "
        f"Remove {damage.call} from the layer, its build or its module.",
        line=first.line if first else None,
        call=first.call if first else "",
    )


def _recursion() -> list[Damage]:
    now = sys.getrecursionlimit()
    what = f"Python's recursion limit was lowered from {_RECURSION:,} to {now:,}"
    why = "at that limit no code runs that nests as deep as torch does"
    return [Damage(what, "RecursionError", why, "the call of sys.setrecursionlimit")] if now < _RECURSION else []


def _limits() -> list[Damage]:
    lowered = []
    for limit, (words, raised) in _LIMITS.items():
        now, before = resource.getrlimit(limit)[0], _SOFT[limit]
        if now != resource.RLIM_INFINITY and (before == resource.RLIM_INFINITY or now < before):
            first = "none" if before == resource.RLIM_INFINITY else f"{before:,}"
            what = f"the process's limit of {words} was lowered from {first} to {now:,}"
            lowered.append(Damage(what, raised, "no call has what it needs any more", "the call of resource.setrlimit"))
    return lowered


def _modules() -> list[Damage]:
    modules: dict[str, Any] = sys.modules.copy()  # six times as fast as dict() of a table with gaps
    return [
        Damage(
            f"sys.modules[{name!r}] was set to None",
            rf"import of {re.escape(name)} halted; None in sys.modules",
            "no code can import that module any more",
            "that change of sys.modules",
        )
        for name, module in modules.items()
        if module is None and name not in _NONE
    ]


def _device() -> list[Damage]:
    now = torch.get_default_device()
    what = f"torch's default device was changed from {_DEVICE} to {now}"
    raised = r"out of meta tensor|to be on the same device|Expected a '\w+' device type for generator"
    why = "inputs, an oracle or a layer that name no device are made on that one"
    return [Damage(what, raised, why, "the call of torch.set_default_device")] if now != _DEVICE else []
