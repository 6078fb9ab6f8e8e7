"""A log of what a rank gives to a collective, written before the collective runs: a rank that hangs in it can be named."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.ops.collectives import is_reduction
from harness.ops.names import op_name

Note = dict[str, Any]
_listeners: list[Callable[[Note], None]] = []


def listen(listener: Callable[[Note], None]) -> None:
    """Give each note of this process to ``listener`` from now on."""
    _listeners.append(listener)


def note_call(label: str) -> None:
    """A call of the layer begins."""
    _note({"call": label})


def note_end(label: str) -> None:
    """A call of the layer has ended, and its device has done the work."""
    _note({"end": label})


def note_collective(op: str, tensor: Tensor) -> Note:
    """``tensor`` is about to be given to the collective ``op``. Returns the note."""
    note = {
        "collective": op,
        "shape": [int(size) for size in tensor.shape],
        "stride": [int(step) for step in tensor.stride()],
        "dtype": str(tensor.dtype).removeprefix("torch."),
    }
    _note(note)
    return note


def note_repeated(notes: Iterable[Note]) -> None:
    """A compiled or captured call is about to run these collectives: it dispatches none."""
    for note in notes:
        _note(note)


def _note(note: Note) -> None:
    for listener in _listeners:
        listener(note)


class CollectiveLog(TorchDispatchMode):
    """Notes each collective of a call, before it runs, and holds the notes. ``also`` names ops that reduce beside those known."""

    def __init__(self, also: tuple[str, ...] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._also = also
        self.notes: list[Note] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = op_name(func)
        if is_reduction(name) or name in self._also:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.notes += [note_collective(name, tensor) for tensor in tensors[:1]]
        return func(*args, **(kwargs or {}))


def collectives_of(module: torch.fx.GraphModule) -> list[tuple[str, Tensor]]:
    """The collectives of a graph that Dynamo gave to a backend, each with the fake tensor that it is given."""
    found = []
    for node in module.graph.nodes:
        schema = getattr(getattr(node.target, "default", node.target), "_schema", None)
        given = [one.meta.get("example_value") for one in node.all_input_nodes]
        if node.op == "call_function" and schema is not None and is_reduction(schema.name):
            found += [(schema.name, tensor) for tensor in given[:1] if isinstance(tensor, Tensor)]
    return found
