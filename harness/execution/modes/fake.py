"""Fake: the layer traced over FakeTensors, with a static or a symbolic token count."""

import builtins
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, StatelessSymbolicContext

from harness.base.exception_text import raised_by_user
from harness.base.halving import last_and_next
from harness.base.source import is_library
from harness.execution.evidence import Call, Run
from harness.execution.memory.traces import without_traces
from harness.execution.memory.written_memory import written_memory
from harness.execution.modes.guards import AND, COUNTS, FIXED, LinedEnv, holds, is_of_few_rows, is_torchs, words
from harness.execution.rig import LAYER_ERRORS, Rig

_TOKENS = 0  # the dimension that is the tokens
MORE = 230  # tokens: halves, thirds and rests after usual tiles have more than one row


def run(rig: Rig, dynamic: bool) -> Run:
    """One symbolic trace; or two static ones, at the case's token count and at zero."""
    run = rig.start()
    counts = {"symbolic trace": max(rig.case.tokens, 2)}
    if not dynamic:
        counts = {"trace": rig.case.tokens, "zero tokens": 0}
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=LinedEnv() if dynamic else None)
    # Each trace has symbols of its own, so nothing that was cached is found, and filling the cache is a quarter of a trace.
    mode.cache_enabled = mode.cache_enabled and not dynamic
    for label, tokens in counts.items():
        if trace(rig, run, mode, label, tokens).error:
            rig.audit(run)
            break
        if isinstance(mode.shape_env, LinedEnv) and (more := _trace_of_more(rig, run, mode.shape_env, tokens)):
            run.specialised = run.specialised_at = None
            run.calls[-1] = more
    return rig.finish(run)


def trace(rig: Rig, run: Run, mode: FakeTensorMode, label: str, tokens: int) -> Call:
    """Trace the layer once and add the call to the run. The output is a FakeTensor, symbolic if the mode has a ShapeEnv."""
    dynamic = mode.shape_env is not None
    fakes = tuple(tensor if tensor is None else _fake(mode, tensor, dynamic) for tensor in rig.inputs(tokens, 0))
    call = Call(label, tokens, fakes)
    run.calls.append(call)
    recorder = rig.recorder()
    call.records = recorder.records
    assert run.layer is not None
    try:
        with ExitStack() as stack:
            stack.enter_context(_hashable_sizes())
            stack.enter_context(_symbolic_extremes())
            stack.enter_context(without_traces(run.layer, rig.ops))
            stack.enter_context(mode)
            stack.enter_context(enable_python_dispatcher())
            stack.enter_context(recorder)
            call.output = run.layer(*fakes)
    except LAYER_ERRORS as error:
        call.error = error
        return call
    if isinstance(mode.shape_env, LinedEnv):
        run.specialised = _specialised(fakes, rig)
        run.specialised_at, guard = mode.shape_env.blamed(run.specialised, fakes[0].shape[_TOKENS])
        run.specialised_by_torch = is_torchs(run.specialised, fakes[0].shape[_TOKENS])
        asking = (record for record in call.records if record.custom and record.made_guard(guard))
        run.specialised_by = next((record.op for record in asking), "")
    return call


@contextmanager
def _hashable_sizes() -> Iterator[None]:
    """Let a symbolic size be the key of an lru_cache, which Dynamo looks through and a plain trace does not."""

    def key(size: torch.SymInt) -> int:
        return hash((id(size.node.shape_env), str(size.node.expr)))

    with mock.patch.object(torch.SymInt, "__hash__", key):
        yield


@contextmanager
def _symbolic_extremes() -> Iterator[None]:
    """Let ``max`` and ``min`` of sizes in user code be symbolic, as Dynamo does. In torch's own code they are as they are."""
    with ExitStack() as stack:
        for name, symbolic in (("max", torch.sym_max), ("min", torch.sym_min)):
            stack.enter_context(mock.patch.object(builtins, name, _extreme(getattr(builtins, name), symbolic)))
        yield


def _extreme(plain: Any, symbolic: Any) -> Any:
    def extreme(*values: Any, **options: Any) -> Any:
        sizes = len(values) == 2 and not options and any(isinstance(value, torch.SymInt) for value in values)
        users = sizes and not is_library(sys._getframe(1).f_code.co_filename)
        return symbolic(*values) if users else plain(*values, **options)

    return extreme


def _fake(mode: FakeTensorMode, tensor: Tensor, dynamic: bool) -> Tensor:
    if not dynamic:
        return mode.from_tensor(tensor, static_shapes=True)
    # One symbol for the token count of every input: a duck dimension shares the symbol of its size.
    sizes = [DimDynamic.DUCK if dim == _TOKENS else DimDynamic.STATIC for dim in range(tensor.dim())]
    context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
    return mode.from_tensor(tensor, symbolic_context=context)


def _specialised(fakes: tuple[Tensor, ...], rig: Rig) -> str | None:
    """To what the trace restricts the token count: the one number that it fixed it to, or guards; None for no restriction.

    A guard that only limits the tokens to the rows of memory that calls write to is allowed: it was made for so many. A
    weight of as many rows says nothing of the tokens. So is one that holds for every count that the subject declares, or
    that limits them to where the layer raises an error of its own. Torch specialises sizes of 0 and 1, such as those of a
    half of few tokens: that is no choice of the layer.
    """
    size: Any = fakes[0].shape[_TOKENS]
    if not isinstance(size, torch.SymInt):
        return f"{FIXED} {size}"
    env = size.node.shape_env
    fixed = env.replace(size.node.expr)
    if fixed.is_number:
        return f"{FIXED} {fixed}"
    guards = [guard.expr for guard in env.guards if guard.expr.free_symbols == {fixed}]
    counts = {count for count in COUNTS if count <= rig.most_tokens} | {min(rig.most_tokens, COUNTS[-1])}
    narrowing = [expr for expr in guards if not all(holds(expr, fixed, count) for count in counts if count > 1)]
    narrowing = [expr for expr in narrowing if expr in env.of_user or not is_of_few_rows(expr, fixed)]
    if narrowing:
        rows = {tensor.shape[0] for tensor in written_memory(rig) if tensor.dim()}
        narrowing = [expr for expr in narrowing if not any(_limits_to(expr, fixed, most) for most in rows)]
        narrowing = [expr for expr in narrowing if not _says_its_limit(expr, fixed, rig)]
    return AND.join(dict.fromkeys(words(expr, fixed) for expr in narrowing)) or None


def is_of_few(rig: Rig, tokens: int) -> bool:
    """Whether torch alone restricts a trace of so few tokens, and none of more tokens."""
    run, env = rig.start(), LinedEnv()
    traced = trace(rig, run, FakeTensorMode(allow_non_fake_inputs=True, shape_env=env), "trace", tokens)
    return not traced.error and _trace_of_more(rig, run, env, tokens) is not None


def _trace_of_more(rig: Rig, run: Run, env: LinedEnv, tokens: int) -> Call | None:
    """A trace of more tokens that is not restricted, where torch alone restricted that of a few; else None.

    Torch specialises sizes of 0 and 1, and of two or three tokens a half has one row.
    """
    fixed = run.specialised is not None and run.specialised.startswith(FIXED) and not env.user_fixes()
    most = min(MORE, rig.most_tokens)
    if not (fixed or run.specialised_by_torch) or most <= tokens:
        return None
    other = rig.start()
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=LinedEnv())
    more = trace(rig, other, mode, run.calls[-1].label, most)
    return None if more.error or other.specialised else more


def _says_its_limit(guard: Any, symbol: Any, rig: Rig) -> bool:
    """Whether a guard is a limit of the tokens beyond which the layer itself raises, as a trace of one token more shows."""
    most = max((count for count in COUNTS if holds(guard, symbol, count)), default=0)
    beyond = next((count for count in COUNTS if count > most), None)
    if beyond is None or most < 2:
        return False
    most, beyond = last_and_next(lambda count: holds(guard, symbol, count), most, beyond)
    if not _limits_to(guard, symbol, most):
        return False
    error = trace(rig, rig.start(), FakeTensorMode(allow_non_fake_inputs=True), "trace", beyond).error
    return error is not None and raised_by_user(error)


def _limits_to(guard: Any, symbol: Any, most: int) -> bool:
    """Whether a guard holds for up to ``most`` tokens and for no more. Torch specialises 0 and 1, so they are left out."""
    return all(holds(guard, symbol, count) == (count <= most) for count in (*COUNTS, most, most + 1) if count > 1)
