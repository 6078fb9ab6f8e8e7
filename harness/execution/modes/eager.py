"""Eager: plain calls. The first is audited, the second has a poisoned tail; more tokens, one, none, and the first again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.execution.evidence import REPEATED, Call, Run, same_bits
from harness.execution.rig import Rig

ONE = "one token"
# Batches larger than any before: few, so that cases share the oracle's answer, with the compiled modes as well.
_LARGER, _STEP = (16, 42), 9
# Calls in which memory that a layer gives out in turn comes round again.
_FURTHER = 8


def run(rig: Rig, dynamic: bool) -> Run:
    """Six calls of one layer; stops at the first that raises."""
    run = rig.start(watch_state=True)
    assert run.layer is not None
    plan = (
        ("first call", rig.case.tokens, 0, rig.recorder(audit=True)),
        ("second call", rig.case.tokens, 1, rig.recorder(poison=True)),
        # Before the small ones, so that the last call grows again within memory that was made for more.
        ("more tokens", more(rig.case.tokens), 1, None),
        (ONE, 1, 2, rig.recorder(contract=True)),
        ("zero tokens", 0, 3, rig.recorder(contract=True)),
    )
    for label, tokens, seed, recorder in plan:
        if label == ONE and _with_grad(rig, run):
            continue
        if rig.call(run, run.layer, label, tokens, seed, recorder).error:
            return rig.finish(run)
    with torch.inference_mode(), _evaluating(run.layer):
        again = rig.call(run, run.layer, REPEATED, rig.case.tokens, 0, rig.recorder())
        if not again.error:
            _take_turns(rig, run, again)
    rig.finish(run)
    run.reads_changed_state = _reads_changed_state(rig, run)
    return run


def more(tokens: int) -> int:
    """A batch larger than this one."""
    return next((larger for larger in _LARGER if larger > tokens), tokens + _STEP)


def _take_turns(rig: Rig, run: Run, call: Call) -> None:
    """More calls, where somebody else holds the memory of an output: it may be written again, in turn with other memory."""
    layer = run.layer
    if layer is None or not isinstance(call.output, Tensor) or not call.output.numel():
        return
    if _users(call) <= _users(Call("", 1, (), output=torch.empty(1))):
        return
    for further in range(_FURTHER):
        if rig.call(run, layer, "further call", rig.case.tokens, 1 + further % 2).error:
            return


def _users(call: Call) -> int:
    """How many hold a call's output or its memory, this call and this function among them."""
    assert call.output is not None
    return sys.getrefcount(call.output) + torch._C._storage_Use_Count(call.output.untyped_storage()._cdata)


def _with_grad(rig: Rig, run: Run) -> bool:
    """The call of one token with grad mode on. A layer for inference alone may raise there: then it is made without."""
    assert run.layer is not None
    with torch.enable_grad():
        call = rig.call(run, run.layer, ONE, 1, 2, rig.recorder(contract=True))
    call.with_grad = True
    if call.error:
        run.calls.remove(call)
    return not call.error


@contextmanager
def _evaluating(layer: Any) -> Iterator[None]:
    """A module as engines run it, told that it is no longer trained."""
    parts = list(layer.modules()) if isinstance(layer, torch.nn.Module) else []
    training = [part.training for part in parts]
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part, was in zip(parts, training, strict=True):
            part.training = was


def _reads_changed_state(rig: Rig, run: Run) -> bool:
    """Whether what the calls changed in the layer's state reaches the output: a weight does, a workspace does not.

    The elements that were changed are spoilt, and the first inputs come once more.
    """
    changed = run.changed_state
    if not changed or run.failed or run.layer is None:
        return True
    apart = Run(case=run.case, mode=run.mode, ops=run.ops, layer=run.layer)
    with torch.inference_mode():  # as the call before, whose tensors the layer may have kept
        for name in changed:
            _spoil(run.state_after[name], run.state_before[name])
        call = rig.call(apart, run.layer, "spoilt call", rig.case.tokens, 0, rig.recorder())
    first = run.calls[0].snapshot
    return call.snapshot is None or first is None or not same_bits(call.snapshot, first)


def _spoil(now: Tensor, before: Tensor) -> None:
    changed = now != before if now.shape == before.shape else torch.ones_like(now, dtype=torch.bool)
    now[changed] = torch.nan if now.is_floating_point() else ~now[changed]
