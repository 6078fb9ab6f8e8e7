"""Memory that a layer holds for each number of tokens that it ever saw."""

import contextlib
import gc
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.evidence import LeftBehind, Varied
from harness.execution.memory.external_memory import is_view, tensors_in
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import LAYER_ERRORS
from harness.ops.names import op_name

# Few sizes come first. Where each of them left memory, each size up to the most is called: a bounded number of buffers,
# or one for every few sizes, is not most of them.
_FIRST, _EACH, _SHARE = range(41, 75, 11), range(41, 265), 0.75

Left = tuple[str, SourceLine | None]


def each_size(varied: VariedRun, variation: Varied) -> None:
    """Calls of many sizes. Memory as large as half of the activations that stays for each of them is a leak."""
    most = min(varied.most, varied.rig.most_tokens)
    if most < _EACH[-1] or len(_left_by(varied, _FIRST)) < len(_FIRST):
        return
    left = _left_by(varied, _EACH)
    if len(left) > _SHARE * len(_EACH):
        what, line = next(iter(left.values()))
        text = f"after calls of {len(_EACH)} batch sizes {what} of {len(left)} of them is still in memory"
        varied.run.left_behind.append(LeftBehind(variation, text, line))


def _left_by(varied: VariedRun, sizes: range) -> dict[int, Left]:
    """By the number of tokens, what a new layer's call left in memory."""
    layer, made = varied.fresh(), _Large()
    for tokens in sizes:
        inputs, _ = varied.batch(tokens)
        least = inputs[0].nbytes // inputs[0].shape[1] * varied.rig.case.width // 2
        made.begin(tokens, least, with_line=sizes is _EACH and tokens == sizes[0])
        with made, contextlib.suppress(*LAYER_ERRORS):
            layer(*inputs)
        del inputs
    left = made.alive()
    if len(left) > _SHARE * len(sizes):
        gc.collect()  # what lies in a cycle of references is no leak
        left = made.alive()
    return left


class _Large(TorchDispatchMode):
    """Notes large new memory, by weak references."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.notes: list[tuple[int, StorageWeakRef, Left]] = []
        self._known: dict[int, StorageWeakRef] = {}

    def begin(self, tokens: int, least: int, with_line: bool) -> None:
        """A call with so many tokens. Memory of at least so many bytes is large. To look for the line takes longer than the call."""
        self._tokens, self._least, self._with_line = tokens, least, with_line

    def alive(self) -> dict[int, Left]:
        """By the number of tokens, what is still in memory."""
        return {tokens: left for tokens, memory, left in self.notes if not memory.expired()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in () if is_view(func) else tensors_in(out):
            self._note(tensor, f"the output of {op_name(func)}")
        return out

    def _note(self, tensor: Tensor, what: str) -> None:
        storage = tensor.untyped_storage()
        known = self._known.get(storage._cdata)
        if storage.nbytes() >= self._least and (known is None or known.expired()):
            self._known[storage._cdata] = weak = StorageWeakRef(storage)
            self.notes.append((self._tokens, weak, (what, SourceLine.here() if self._with_line else None)))
