"""Memory, containers, threads and files that are alive after many calls, of few tokens and of many."""

import contextlib
import gc
from collections import Counter
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.evidence import LeftBehind, Varied
from harness.execution.memory.containers import entries_of
from harness.execution.memory.external_memory import is_view, tensors_in
from harness.execution.memory.handles import handles
from harness.execution.modes.varied.beside.each_size import each_size
from harness.execution.modes.varied.beside.overwritten import overwritten_by
from harness.execution.modes.varied.checks import MANY_TOKENS, PLACES, answer, batch_of, note, place_of
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import LAYER_ERRORS
from harness.ops.names import op_name

# Calls after which memory of an early one should be free, by whether they are of many tokens: what a layer notes of such
# batches alone stays alive too. Calls before that may fill caches. The share of calls whose memory may stay: a layer may keep
# some, as for a few batch sizes. And calls after which a ring of memory has come round.
_CALLS, _FIRST, _SHARE = {False: 30, True: 10}, 4, 0.75
_LONG = dict.fromkeys(_CALLS, 240)


def left_alive(varied: VariedRun, variation: Varied) -> None:
    """Many calls, after which the memory that each call made or was given should be free.

    Where it is not, more calls tell a leak from a ring, which holds what a fixed number of calls made.
    """
    if variation.name == "memory=each-size":
        return each_size(varied, variation)
    layer, made = varied.fresh(), _Made()
    for is_large in (False, True):
        _call_often(varied, layer, made, range(-_FIRST, 0), is_large)
    grown = _Grown()
    _call_all(varied, layer, made, grown, dict.fromkeys(_CALLS, 0), _CALLS)
    left = _left_by_calls(varied, made, grown, _CALLS)
    if left is not None:
        _call_all(varied, layer, made, grown, _CALLS, _LONG)
        if _left_by_calls(varied, made, grown, _LONG) is not None:
            varied.run.left_behind.append(LeftBehind(variation, *left))
        elif by := overwritten_by(varied, [answer(varied, layer, place_of(n)) for n in range(sum(_LONG.values()))]):
            note(varied, variation, *by)
    return None


# By how much each container and number of handles grew, in the calls of few tokens and in those of many.
_Grown = Counter[tuple[str, bool]]


def _call_all(
    varied: VariedRun, layer: Any, made: "_Made", grown: _Grown, first: dict[bool, int], last: dict[bool, int]
) -> None:
    """Calls of few tokens, and then of many, from these numbers to those."""
    for is_large, start in first.items():
        before = _entries(varied, layer)
        _call_often(varied, layer, made, range(start, last[is_large]), is_large)
        # A container that is new since then may have been made for something else.
        after = {name: count for name, count in _entries(varied, layer).items() if name in before}
        grown.update({(name, is_large): count - before[name] for name, count in after.items()})


def _entries(varied: VariedRun, layer: Any) -> dict[str, int]:
    return entries_of(layer, varied.rig.ops) | handles()


def _call_often(varied: VariedRun, layer: Any, made: "_Made", numbers: range, is_large: bool) -> None:
    """A call for each number; those below 0 may fill caches."""
    for number in numbers:
        inputs, _ = varied.batch(_most(varied)) if is_large else batch_of(varied, number % PLACES)
        made.begin(number, inputs, is_large)
        with made, contextlib.suppress(*LAYER_ERRORS):
            layer(*inputs)
        del inputs


def _most(varied: VariedRun) -> int:
    return min(MANY_TOKENS, varied.most)


def _left_by_calls(
    varied: VariedRun, made: "_Made", grown: _Grown, calls: dict[bool, int]
) -> tuple[str, SourceLine | None] | None:
    """(what so many calls left, the line that made it): memory of most calls, or an entry for most of them; None for nothing."""
    if alive := made.still_alive(calls):
        count, what, line, only_large = alive
        whose = f", those of {_most(varied)} tokens," if only_large else ""
        return f"after {sum(calls.values())} calls {what} of {count} of them{whose} is still in memory", line
    for (name, is_large), count in grown.items():
        if count > _SHARE * calls[is_large]:
            after = f"after {sum(calls.values())} calls"
            more = count + grown[name, not is_large]
            if name in handles():
                return f"{after} there are {more} more {name}", None
            whose = f", all by calls of {_most(varied)} tokens" if is_large and more == count else ""
            return f"{after} {name} has {more} entries more{whose}", None
    return None


class _Made(TorchDispatchMode):
    """Notes the new memory of each call, by weak references, with the user's line that made it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._notes: list[tuple[int, bool, StorageWeakRef, str, SourceLine | None]] = []
        self._known: dict[int, StorageWeakRef] = {}
        self._call, self._is_large = 0, False

    def begin(self, call: int, inputs: tuple[Tensor, ...], is_large: bool) -> None:
        """The next call; calls below 0 are not noted."""
        self._call, self._is_large = call, is_large
        for place, tensor in enumerate(inputs):
            self._note(tensor, "hidden_states" if not place else f"input {place}", None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not is_view(func):
            line = SourceLine.here() if self._call == 0 else None
            for tensor in tensors_in(out):
                self._note(tensor, f"the output of {op_name(func)}", line)
        return out

    def _note(self, tensor: Tensor, what: str, line: SourceLine | None) -> None:
        """Note memory that is new: an op that writes in place returns what there was."""
        if not isinstance(tensor, Tensor) or not tensor.numel():
            return
        storage = tensor.untyped_storage()
        known = self._known.get(storage._cdata)
        if known is None or known.expired():
            self._known[storage._cdata] = weak = StorageWeakRef(storage)
            if self._call >= 0:
                self._notes.append((self._call, self._is_large, weak, what, line))

    def still_alive(self, made: dict[bool, int]) -> tuple[int, str, SourceLine | None, bool] | None:
        """(how many calls, whose memory, the line that made it, whether those of many tokens alone); None where most is freed.

        Memory of most of the large ones among so many calls is alive, or of most of the others.
        """
        if self._alive(made):
            gc.collect()  # what lies in a cycle of references is no leak
        return self._alive(made)

    def _alive(self, made: dict[bool, int]) -> tuple[int, str, SourceLine | None, bool] | None:
        alive = {(call, what, large) for call, large, storage, what, _ in self._notes if not storage.expired()}
        counts = Counter((what, large) for _, what, large in alive)
        for (what, is_large), calls in counts.items():  # in the order of the first call's ops
            if calls > _SHARE * made[is_large]:
                lines = [line for _, _, _, name, line in self._notes if name == what and line]
                others = counts[what, not is_large]
                return calls + others, what, lines[0] if lines else None, is_large and not others
        return None
