"""Memory that a graph reads and did not make: a graph keeps its address alone, and does not keep it alive."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.ops.collectives import is_collective
from harness.ops.names import is_custom
from harness.ops.tensor_meta import TensorMeta


class FreedMemory(RuntimeError):
    """A graph is to be replayed that reads memory freed or moved since its capture. ``line`` is the user's line that reads it."""

    def __init__(self, what: str, line: SourceLine | None) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True, slots=True)
class _Read:
    """A storage, where it lay at the capture, and who read it first."""

    storage: StorageWeakRef
    address: int
    meta: TensorMeta
    op: str
    line: SourceLine | None

    @classmethod
    def of(cls, tensor: Tensor, op: str) -> Self:
        storage = tensor.untyped_storage()
        return cls(StorageWeakRef(storage), storage.data_ptr(), TensorMeta.of(tensor), op, SourceLine.here())

    def fate(self) -> str:
        """What became of it since: ``freed``, ``moved``, or nothing."""
        if self.storage.expired():
            return "freed"
        now = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        return "" if now.data_ptr() == self.address else "moved"


class Outside:
    """The storages of one device that a graph reads and that none of its ops made."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._reads: dict[int, _Read] = {}
        self._made: set[int] = set()

    def reads(self, op: str, tensors: Iterable[Tensor]) -> None:
        """Note what an op is about to read. An empty tensor has no address; one on another device is passed by value."""
        if op.startswith("aten::new_") or (op.startswith("aten::") and op.endswith("_like")):
            return  # takes the form alone
        for tensor in tensors:
            key = tensor.untyped_storage()._cdata
            known = key in self._made or key in self._reads
            if not known and tensor.device.type == self.device and tensor.untyped_storage().nbytes():
                self._reads[key] = _Read.of(tensor, op)

    def made(self, tensors: Iterable[Tensor]) -> None:
        """Note what an op gave; where it gave memory from outside back, that stays so."""
        self._made |= {tensor.untyped_storage()._cdata for tensor in tensors} - self._reads.keys()

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in memory from outside."""
        return tensor.untyped_storage()._cdata in self._reads

    def check(self) -> None:
        """Raises FreedMemory where something is gone. Touches none of it."""
        for read in self._reads.values():
            if fate := read.fate():
                raise FreedMemory(f"{read.op} uses {read.meta}, which was {fate} after the capture", read.line)


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A tensor in memory from outside, by its place there."""

    storage: StorageWeakRef
    dtype: torch.dtype
    device: torch.device
    place: tuple[Any, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """What is needed to see the tensor again while its memory lives."""
        place = tensor.storage_offset(), tensor.shape, tensor.stride()
        return cls(StorageWeakRef(tensor.untyped_storage()), tensor.dtype, tensor.device, place)

    def tensor(self) -> Tensor:
        """The tensor; its memory must live."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        return torch.empty(0, dtype=self.dtype, device=self.device).set_(storage, *self.place)


class Noting(TorchDispatchMode):
    """Notes what a capture reads from outside, within custom ops too."""

    def __init__(self, outside: Outside) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outside = outside

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, inside = kwargs or {}, _looks_inside(func)
        if not inside and _is_composite(func):
            with self:  # inside a custom op composites arrive whole, and ``aten::to`` may be a copy or nothing
                return func.decompose(*args, **kwargs)
        if _is_view(func):
            return func(*args, **kwargs)
        self.outside.reads(func._schema.name, tensors_in((args, [*kwargs.values()])))
        out = self._run_inside(func, args, kwargs) if inside else self.run(func, args, kwargs)
        self.outside.made(tensors_in(out))
        return out

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an op that is a kernel."""
        return func(*args, **kwargs)

    def _run_inside(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a custom op's kernel with this mode on, so that its inner ops are seen in its place."""
        device = next((tensor.device.type for tensor in tensors_in((args, [*kwargs.values()]))), "cpu")
        # A custom op without a kernel of this device's own has one for all: its table's entry for the device is empty.
        own = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), device.upper())
        key = getattr(torch._C.DispatchKey, device.upper() if own else "CompositeExplicitAutograd")
        with self:
            return func._op_dk(key, *args, **kwargs)


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """The tensors in an op's arguments or results, which nest lists and no more: torch's own walk takes ten times as long."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from tensors_in(part)


@cache
def _is_view(func: Any) -> bool:
    """Whether an op gives its inputs' memory and nothing else: it is no kernel, and reads none of it."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


@cache
def _is_composite(func: Any) -> bool:
    composite: bool = func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
    return composite


def _looks_inside(func: Any) -> bool:
    """Whether an op is looked into. A collective is one kernel of the graph, whatever process group carries it."""
    return is_custom(func._schema.name) and not is_collective(func._schema.name)
