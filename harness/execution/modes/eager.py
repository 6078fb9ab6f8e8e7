"""Eager: plain calls of one layer.

The first call is audited, and the second one's padded tail is poisoned. Then come more tokens, one token, zero tokens, and
the first inputs again.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.execution.evidence import REPEATED, Call, Run, same_bits
from harness.execution.modes import fake
from harness.execution.rig import Rig
from harness.execution.second_look import look_again, not_finite, without_onednn

ONE = "one token"
# Larger batches. There are only few sizes, so that cases and modes share the oracle's cached output.
_LARGER, _STEP = (16, 42), 9
# Enough calls for a layer that returns a few buffers in turn to return the first one again.
_EXTRA_CALLS = 8


def run(rig: Rig, dynamic: bool) -> Run:
    """Six calls of one layer; stops at the first that raises."""
    run = _run(rig)
    if rig.case.full:  # a second layer of true size may not fit beside the first
        return run
    if not_finite(run) and rig.device.type == "cpu" and torch.backends.mkldnn.enabled:
        with without_onednn():  # a NaN that is gone then is oneDNN's
            run = _run(rig)
    run.trace_is_clean = run.failed and _traces(rig, run.calls[-1])
    return look_again(rig, run)


def _traces(rig: Rig, call: Call) -> bool:
    """Whether a call that raised raises nothing where it is traced."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    return fake.trace(rig, rig.start(), mode, call.label, call.tokens).error is None


def _run(rig: Rig) -> Run:
    run = rig.start(watch_state=True)
    assert run.layer is not None
    larger = larger_batch(rig.case.tokens, rig.most_tokens)
    plan = (
        ("first call", rig.case.tokens, 0, rig.recorder(audit=True)),
        ("second call", rig.case.tokens, 1, rig.recorder(poison=True)),
        # Before the small batches, so that the last call uses part of a buffer that was made for more tokens.
        ("more tokens", larger, 1, None),
        (ONE, 1, 2, rig.recorder(contract=True)),
        ("zero tokens", 0, 3, rig.recorder(contract=True)),
    )
    for label, tokens, seed, recorder in plan:
        if (label == ONE and _with_grad(rig, run)) or tokens > rig.most_tokens:
            continue
        if rig.call(run, run.layer, label, tokens, seed, recorder).error:
            return rig.finish(run)
    with torch.inference_mode(), _eval_mode(run.layer):
        repeated = rig.call(run, run.layer, REPEATED, rig.case.tokens, 0, rig.recorder(contract=True))
        if not repeated.error:
            _call_until_reused(rig, run, repeated)
    rig.finish(run)
    run.reads_changed_state = reads_changed_state(rig, run)
    return run


def larger_batch(tokens: int, most: int = sys.maxsize) -> int:
    """A token count larger than this one, and at most ``most``."""
    return min(next((larger for larger in _LARGER if larger > tokens), tokens + _STEP), most)


def _call_until_reused(rig: Rig, run: Run, call: Call) -> None:
    """Make extra calls where the layer still refers to the memory of its output: it may write there in a later call."""
    layer = run.layer
    if layer is None or not isinstance(call.output, Tensor) or not call.output.numel():
        return
    # Compared with an output that nobody else refers to.
    if _references(call) <= _references(Call("", 1, (), output=torch.empty(1))):
        return
    for extra in range(_EXTRA_CALLS):
        if rig.call(run, layer, "extra call", rig.case.tokens, 1 + extra % 2).error:
            return


def _references(call: Call) -> int:
    """The number of references to a call's output and to its storage, those of the call and of this function included."""
    assert call.output is not None
    return sys.getrefcount(call.output) + torch._C._storage_Use_Count(call.output.untyped_storage()._cdata)


def _with_grad(rig: Rig, run: Run) -> bool:
    """Make the call of one token with grad mode on; False where it raised. A layer for inference only may raise there."""
    assert run.layer is not None
    with torch.enable_grad():
        call = rig.call(run, run.layer, ONE, 1, 2, rig.recorder(contract=True))
    call.with_grad = True
    if call.error:
        run.calls.remove(call)
    return not call.error


@contextmanager
def _eval_mode(layer: Any) -> Iterator[None]:
    """Put a module and its submodules into eval mode, as engines do, and restore each one's own mode."""
    modules = list(layer.modules()) if isinstance(layer, torch.nn.Module) else []
    training = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, was in zip(modules, training, strict=True):
            module.training = was


def reads_changed_state(rig: Rig, run: Run) -> bool:
    """Whether the state that the calls changed reaches the output.

    The changed elements are overwritten with garbage, and the first inputs are run again. If the output changes, that state
    was a weight; if not, it was only a workspace.
    """
    changed = run.changed_state
    if not changed or run.failed or run.layer is None:
        return True
    separate = Run(case=run.case, mode=run.mode, ops=run.ops, layer=run.layer)
    with torch.inference_mode():  # tensors that the layer saved in the call before can be changed only here
        for name in changed:
            _overwrite(run.state_after[name], run.state_before[name])
        call = rig.call(separate, run.layer, "call with overwritten state", run.calls[0].tokens, 0, rig.recorder())
    first = run.calls[0].snapshot
    return call.snapshot is None or first is None or not same_bits(call.snapshot, first)


def _overwrite(now: Tensor, before: Tensor) -> None:
    # torch compares and fills no numbers of eight bits and less.
    if now.is_floating_point() and now.element_size() == 1:
        now, before = now.view(torch.uint8), before.view(torch.uint8)
    changed = now != before if now.shape == before.shape else torch.ones_like(now, dtype=torch.bool)
    now[changed] = torch.nan if now.is_floating_point() else ~now[changed]
