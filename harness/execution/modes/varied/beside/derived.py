"""Weights that a load does not reach: each call reads something that the build derived from them.

A layer that is loaded and then called is no reference for it, since its build came first. So each weight is loaded with other
values alone. Where that changes nothing, the build is watched for what it made of that weight, and a call for what it reads.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.evidence import LeftBehind, Varied, same_bits
from harness.execution.memory.external_memory import is_view, tensors_in
from harness.execution.memory.wrapped import parts_of, wrap_others
from harness.execution.modes.varied.beside.weights import doubled
from harness.execution.modes.varied.checks import answer, batch_of
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import LAYER_ERRORS
from harness.ops.tensor_meta import TensorMeta

# Memory that is this many times as large as a weight is a checkpoint that many are cut from: that it is shared says nothing.
_LARGER = 2


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Origins(TorchDispatchMode):
    """Which memory ops make of which other memory, and the user's line that did. All of it stays alive, so that keys are unique."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of: dict[int, set[int]] = {}
        self.lines: dict[int, SourceLine | None] = {}
        self.bytes: dict[int, int] = {}
        self._alive: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not is_view(func):
            self._note([*tensors_in((*args, *kwargs.values()))], [*tensors_in(out)])
        return out

    def _note(self, read: list[Tensor], made: list[Tensor]) -> None:
        origins = {key for tensor in read for key in (_key(tensor), *self.of.get(_key(tensor), ()))}
        for tensor in (*read, *made):
            self._alive.append(tensor)
            self.bytes[_key(tensor)] = tensor.untyped_storage().nbytes()
        for tensor in made:
            self.of[_key(tensor)] = self.of.get(_key(tensor), set()) | origins - {_key(tensor)}
            self.lines.setdefault(_key(tensor), SourceLine.here())

    def are_linked(self, weight: int, other: int) -> bool:
        """Whether memory is made of a weight's, or the weight of it, or both of the same."""
        mine, others = ({key, *self.of.get(key, ())} for key in (weight, other))
        most = _LARGER * self.bytes.get(weight, 0)
        return weight in others or any(self.bytes[key] <= most for key in mine & others if key in self.bytes)


class _Reads(TorchDispatchMode):
    """The tensors that ops read and that none of them made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read: dict[int, Tensor] = {}
        self._made: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        kwargs = kwargs or {}
        for tensor in tensors_in((*args, *kwargs.values())):
            if _key(tensor) not in self._made:
                self.read.setdefault(_key(tensor), tensor)
        out = func(*args, **kwargs)
        self._made |= {_key(tensor): tensor for tensor in tensors_in(out) if _key(tensor) not in self.read}
        return out


def unreached(varied: VariedRun, own: dict[str, Any], load: Any) -> Iterator[str]:
    """The names of the weights of which other values, loaded before the first call, change nothing. ``own`` is the state_dict."""
    plain = answer(varied, varied.fresh()).snapshot
    for name, tensor in own.items():
        if plain is None or not _is_number(tensor):
            continue
        layer = varied.fresh()
        if load(layer, own | {name: doubled(tensor)}):
            output = answer(varied, layer).snapshot
            if output is not None and same_bits(output, plain):
                yield name


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and not same_bits(doubled(value), value)


def note_derived(varied: VariedRun, variation: Varied, names: Iterable[str]) -> None:
    """Note the first of these weights of which the build made something, or both of the same, that each call reads."""
    with _Origins() as origins:
        layer: nn.Module = varied.fresh()
    saved = {name: value for name, value in layer.state_dict().items() if isinstance(value, Tensor)}
    state = {_key(part) for name, value in saved.items() for _, part in parts_of(name, value)}
    inputs, _ = batch_of(varied, 0)
    with _Reads() as reads, contextlib.suppress(*LAYER_ERRORS):
        layer(*inputs)
    state |= {_key(tensor) for tensor in inputs if tensor is not None}
    others = [one for key, one in reads.read.items() if key not in state]
    weights = [(name, _key(layer.state_dict()[name])) for name in names]
    linked = [(*one, other) for one in weights for other in others if origins.are_linked(one[1], _key(other))]
    if linked:
        name, weight, other = linked[0]
        what = f"other values of {name}, loaded before any call, change nothing: each call reads {TensorMeta.of(other)}"
        made = ", which the build made of it" * (weight in origins.of.get(_key(other), ()))
        varied.run.left_behind.append(LeftBehind(variation, f"{what}{made}", origins.lines.get(_key(other))))
