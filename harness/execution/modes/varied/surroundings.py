"""The surroundings of a call: torch's modes, the thread, what came before, the state of the process, and memory that stays alive."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.execution.difference import compare
from harness.execution.evidence import Call, LeftBehind, Run, Varied
from harness.execution.memory.fresh_memory import copy_of
from harness.execution.modes.varied.beside.alive import left_alive
from harness.execution.modes.varied.beside.crowd import crowded_batch
from harness.execution.modes.varied.beside.rounding import MOVED, rounding_explains
from harness.execution.modes.varied.checks import (
    FEW,
    MANY_TOKENS,
    answer,
    batch_of,
    check,
    few,
    if_steady,
    run_few,
)
from harness.execution.modes.varied.inputs import Inputs
from harness.execution.modes.varied.process import ProcessState, Snapshot, new_variables
from harness.execution.modes.varied.routing import routes_otherwise
from harness.execution.modes.varied.varied_run import VariedRun, rows_of
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.execution.state.global_state import default_dtype, matmul_precision, set_matmul_precision
from harness.ops.names import op_name

_TRIES = 8
# Modes of torch in which a router may round its logits.
_INEXACT = ("torch=default-bfloat16", "torch=autocast", "torch=matmul-high")


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of fresh layers, each in other surroundings."""
    before = Snapshot()

    def process(varied: VariedRun, variation: Varied) -> None:
        _process(varied, variation, before)

    groups = {
        "torch": if_steady(_in_torch),
        "thread": if_steady(_in_thread),
        "before": if_steady(_after),
        "process": process,
        "memory": left_alive,
    }
    try:
        return run_few(rig, groups, MANY_TOKENS)
    finally:
        before.restore()


@contextlib.contextmanager
def _not_deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    before = matmul_precision()
    set_matmul_precision(name)
    try:
        yield
    finally:
        set_matmul_precision(before)


@contextlib.contextmanager
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # neither one nor a power of two, so that rows are left over
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _autocast(varied: VariedRun) -> Any:
    """Autocast to the dtype of hidden_states. A layer that mixes float16 and bfloat16 gives float32, and is right."""
    dtype = batch_of(varied, 0)[0][0].dtype
    return torch.autocast(varied.rig.device.type, dtype=dtype if dtype == torch.float16 else torch.bfloat16)


def _in_torch(varied: VariedRun, variation: Varied) -> None:
    modes: dict[str, Callable[[], Any]] = {
        "torch=not-deterministic": _not_deterministic,
        "torch=default-bfloat16": lambda: default_dtype(torch.bfloat16),
        "torch=autocast": lambda: _autocast(varied),
        "torch=matmul-high": lambda: _precision("high"),
        "torch=inference-tensors": torch.inference_mode,
    }
    around = modes[variation.name]
    if variation.name == "torch=inference-tensors":
        inputs, expected = batch_of(varied, 0)
        with torch.inference_mode():
            made = tuple(map(copy_of, inputs))
        check(varied, variation, varied.fresh(), inputs=made, expected=expected, around=around)
        return
    check(varied, variation, varied.fresh(), around=around)
    wrong = varied.run.calls[-1]
    is_right = wrong.error is None and not varied.is_wrong(wrong)
    if not is_right and variation.name in _INEXACT and rounding_explains(varied.rig, wrong):
        varied.drop(wrong)
        varied.leave_out(variation, MOVED)
        return
    if is_right and (variation.name != "torch=matmul-high" or _of_medium(varied, variation)):
        _of_many_tokens(varied, variation, around)
    if variation.name != "torch=not-deterministic":
        varied.refused(varied.run.calls[-1])  # a layer may refuse another dtype than it was written for


def _of_medium(varied: VariedRun, variation: Varied) -> bool:
    """The other precision below the highest; whether it is right. One in which the layer's own router rounds is not judged."""
    label = "a float32 matmul precision of medium, where one of high is right"
    if not check(varied, variation, varied.fresh(), label=label, around=lambda: _precision("medium")):
        if not _rounds(varied, varied.run.calls[-1], lambda: _precision("medium")):
            return False
        varied.run.calls.pop()
    return True


def _of_many_tokens(varied: VariedRun, variation: Varied, around: Callable[[], Any]) -> None:
    """A larger batch, most of which goes to the same experts: one that counts its tokens in fewer bits shows there.

    One that is wrong without the mode too is left to ``varied-tokens`` and ``varied-contents``.

    One in which the layer's own router rounds is not judged: among so many tokens two experts are as good as equal for one.
    """
    (inputs, expected), more = crowded_batch(varied, min(MANY_TOKENS, varied.most))
    label = f"a batch of {inputs[0].shape[0]} tokens{more}, where one of {few(varied.rig)} is right"
    layer, before = varied.fresh(), len(varied.run.calls)
    if check(varied, variation, layer, inputs=inputs, expected=expected, label=label, around=around):
        return
    rounds = variation.name in _INEXACT and _rounds(varied, varied.run.calls[before], around)
    if rounds or not check(varied, variation, varied.fresh(), inputs=inputs, expected=expected):
        del varied.run.calls[before:]
    del varied.run.calls[before + 1 :]


def _rounds(varied: VariedRun, call: Call, around: Callable[[], Any]) -> bool:
    """Whether the layer's own router rounds: the experts get other ids, or one token that is wrong among many is so among few.

    The second only where the layer is given no ids: then it is not seen what its router gives. True too where the oracle
    itself is moved as far.
    """
    if rounding_explains(varied.rig, call):
        return True

    def inside(*tensors: Tensor) -> Any:
        with around():
            return layer(*tensors)

    layer = varied.fresh()
    if call.other_routing:  # of the same experts a rounding changes no weight by so much
        return routes_otherwise(varied.rig, call.before, varied.fresh(), inside, ids_alone=True)
    ids_at = Inputs.of(call.before, varied.rig.case).ids_at
    if ids_at is not None or call.error or call.expected is None:
        return False
    difference = compare(call.snapshot, call.expected) if isinstance(call.snapshot, Tensor) else None
    rows = difference.tokens[: few(varied.rig)] if difference else []
    if not rows:
        return False
    inputs, expected = tuple(t if t is None else t[rows] for t in call.before), rows_of(call.expected, rows)
    one = Call("", len(rows), inputs, expected=expected)
    layer = varied.fresh()
    return varied.rig.make(one, inside) and varied.is_wrong(one)


def _in_thread(varied: VariedRun, variation: Varied) -> None:
    """A layer that this thread built, called in another one, or where torch splits work among several."""
    layer = varied.fresh()
    if variation.name == "thread=3":
        check(varied, variation, layer, around=_three_threads)
        return
    # A new thread begins on the default stream, whose work is not ordered after this thread's.
    is_cuda = varied.rig.device.type == "cuda"
    stream = torch.cuda.stream(torch.cuda.current_stream()) if is_cuda else contextlib.nullcontext()

    def call(*inputs: Tensor) -> Any:
        with torch.no_grad(), stream:
            return layer(*inputs)

    def elsewhere(*inputs: Tensor) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call, *inputs).result()

    check(varied, variation, elsewhere)


def _after(varied: VariedRun, variation: Varied) -> None:
    """A call after one in another mode of torch, or after calls that raised. What those return is not looked at."""
    layer = varied.fresh()
    modes = {"before=inference-mode": torch.inference_mode, "before=autocast": lambda: _autocast(varied)}
    if mode := modes.get(variation.name):
        with mode(), contextlib.suppress(*LAYER_ERRORS):
            layer(*batch_of(varied, 1)[0])
    else:
        with contextlib.suppress(*LAYER_ERRORS), _Fails(varied.rig.ops):
            layer(*batch_of(varied, 1)[0])
        for inputs in _wrong_inputs(varied) if varied.rig.device.type == "cpu" else ():
            with contextlib.suppress(*LAYER_ERRORS):
                layer(*inputs)
    if not check(varied, variation, layer) and mode and _is_wrong_after_any(varied):
        varied.run.calls.pop()  # it is not the mode of the earlier call


def _is_wrong_after_any(varied: VariedRun) -> bool:
    """Whether a call after a plain one is wrong too, as where something is found again by the address of its inputs.

    An allocator gives the address of the earlier inputs to those of the call sooner or later: it is tried a few times.
    """
    return any(_is_wrong_after_plain(varied) for _ in range(_TRIES))


def _is_wrong_after_plain(varied: VariedRun) -> bool:
    layer = varied.fresh()
    with contextlib.suppress(*LAYER_ERRORS):
        layer(*batch_of(varied, 1)[0])
    call = answer(varied, layer)
    call.expected = batch_of(varied, 0)[1]
    return call.error is not None or varied.is_wrong(call)


class _Fails(TorchDispatchMode):
    """A dispatch mode in which the named ops raise, as they do where memory runs out. No kernel is given wrong inputs."""

    def __init__(self, ops: tuple[str, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ops = ops

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op_name(func) in self._ops:
            raise torch.OutOfMemoryError("raised by the harness, as where memory runs out")
        return func(*args, **(kwargs or {}))


def _wrong_inputs(varied: VariedRun) -> Iterator[tuple[Tensor, ...]]:
    """Inputs that fit no layer. Each is larger than it should be: a kernel that does not look reads no foreign memory."""
    (hidden, *others), _ = batch_of(varied, 0)
    if others:
        more, _ = varied.batch(FEW + 2)
        yield hidden, *more[1:]
    yield torch.cat((hidden, hidden[:, :16]), 1), *others


def _process(varied: VariedRun, variation: Varied, before: Snapshot) -> None:
    """The state of the process around the build of a layer, or around its first calls.

    It is first put back to what it was ``before`` any layer of this run, so that a layer that sets it changes it.
    """
    built = variation.name == "process=build"
    layer = None if built else varied.fresh()

    def act() -> None:
        if layer is None:
            varied.fresh()
        else:
            for place in range(2):
                with contextlib.suppress(*LAYER_ERRORS):
                    layer(*batch_of(varied, place)[0])
            with contextlib.suppress(*LAYER_ERRORS):
                layer(*varied.batch(min(MANY_TOKENS, varied.most))[0])

    with _three_threads(), ProcessState(before) as state:  # one thread shows nothing of a layer that asks for one
        act()
    state.changed += _set_again((*state.written, *new_variables()), act)
    if built:  # a module that draws its first weights is no harm, and one that seeds the generator is
        with _three_threads(), ProcessState(before) as other:
            other.draw()
            varied.fresh()
        drawn = {name for name, one in state.generators.items() if other.generators.get(name) != one}
        state.changed = tuple(name for name in state.changed if name not in drawn)
    if state.changed:
        doing = "building the layer" if built else "calling the layer"
        what = f"{doing} changed {', '.join(state.changed[:4])}"
        varied.run.left_behind.append(LeftBehind(variation, what))


def _set_again(names: tuple[str, ...], act: Callable[[], None]) -> tuple[str, ...]:
    """Which variables of the environment are set after an act that finds them gone: an earlier verdict's layer set them before.

    One that is set only where it is not there, as by ``setdefault``, is not written while it is there.
    """
    values = {name: os.environ.pop(name) for name in names if name in os.environ}
    if values:
        act()
    found = tuple(f"the environment variable {name}" for name in values if name in os.environ)
    os.environ.update(values)
    return found
