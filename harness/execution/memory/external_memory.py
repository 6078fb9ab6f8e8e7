"""External memory: memory that a graph reads although none of its ops made it, such as weights and cached buffers.

A CUDA graph stores the address of such memory and does not keep it alive. If the layer frees or replaces it after the
capture, each replay reads whatever lies there by then.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.memory.fresh_memory import call_filled
from harness.execution.memory.wrapped import wrap_others
from harness.ops.collectives import is_collective
from harness.ops.higher_order import call_inside, is_higher_order
from harness.ops.names import is_custom
from harness.ops.tensor_meta import TensorMeta


class FreedMemory(RuntimeError):
    """A graph is replayed whose external memory was freed or moved since the capture. ``line`` is the user's line that read it.

    ``cache`` says which bounded cache alone held it.
    """

    def __init__(self, what: str, line: SourceLine | None) -> None:
        super().__init__(what)
        self.line, self.cache = line, ""


@dataclass(frozen=True, slots=True)
class _FirstRead:
    """The first read of a storage in a capture: its address then, and the op and the user's line that read it."""

    storage: StorageWeakRef
    address: int
    meta: TensorMeta
    op: str
    line: SourceLine | None

    @classmethod
    def of(cls, tensor: Tensor, op: str) -> Self:
        storage = tensor.untyped_storage()
        return cls(StorageWeakRef(storage), storage.data_ptr(), TensorMeta.of(tensor), op, SourceLine.here())

    def whole(self) -> Tensor:
        """All of the storage, flat and in the dtype that was read."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        dtype = getattr(torch, self.meta.dtype)
        flat: Tensor = call_filled(torch.empty, 0, dtype=dtype, device=storage.device)
        return flat.set_(storage, 0, (storage.nbytes() // flat.element_size(),), (1,))

    def change(self) -> str:
        """What happened to the storage since: ``freed``, ``moved``, or empty for nothing."""
        if self.storage.expired():
            return "freed"
        now = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        return "" if now.data_ptr() == self.address else "moved"


class ExternalMemory:
    """The storages on one device that a graph reads and that none of its ops made."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._reads: dict[int, _FirstRead] = {}
        # Weak references, since they keep the key: a storage that is made later would else get the key of one that was freed.
        self._created: dict[int, StorageWeakRef] = {}

    def note_reads(self, op: str, tensors: Iterable[Tensor]) -> None:
        """Note the tensors that an op is about to read, on this device only: a host scalar is passed by value."""
        if op.startswith("aten::new_") or (op.startswith("aten::") and op.endswith("_like")):
            return  # reads the metadata only
        for tensor in tensors:
            key = tensor.untyped_storage()._cdata
            known = key in self._created or key in self._reads
            # An empty tensor has no address that a graph could store.
            if not known and tensor.device.type == self.device and tensor.untyped_storage().nbytes():
                self._reads[key] = _FirstRead.of(tensor, op)

    def note_created(self, tensors: Iterable[Tensor]) -> None:
        """Note what an op returned. Where it returned external memory, that stays external."""
        for storage in (tensor.untyped_storage() for tensor in tensors):
            if storage._cdata not in self._reads and storage._cdata not in self._created:
                self._created[storage._cdata] = StorageWeakRef(storage)

    def contains(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in external memory."""
        return tensor.untyped_storage()._cdata in self._reads

    def made_by(self, other: "ExternalMemory") -> list[tuple[Tensor, str, SourceLine | None]]:
        """The memory that this graph reads and that the other graph's capture made: flat tensors, the op and line that read."""
        made = [read for key, read in self._reads.items() if key in other._created and not read.change()]
        return [(read.whole(), f"{read.op} reads {read.meta}", read.line) for read in made]

    def check(self) -> None:
        """Raise FreedMemory where a storage was freed or moved. Reads no element."""
        if error := self.freed():
            raise error

    def freed(self) -> FreedMemory | None:
        """The error for the first storage that was freed or moved; None where none was."""
        for read in self._reads.values():
            if change := read.change():
                return FreedMemory(f"{read.op} uses {read.meta}, which was {change} after the capture", read.line)
        return None


@dataclass(frozen=True, slots=True)
class WeakTensor:
    """A view of a storage that does not keep the storage alive. ``view`` is (offset, shape, stride)."""

    storage: StorageWeakRef
    dtype: torch.dtype
    device: torch.device
    view: tuple[Any, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """A weak reference to a tensor."""
        view = tensor.storage_offset(), tensor.shape, tensor.stride()
        return cls(StorageWeakRef(tensor.untyped_storage()), tensor.dtype, tensor.device, view)

    def tensor(self) -> Tensor:
        """The tensor. Its storage must still be alive: ``ExternalMemory.check`` says so."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        empty: Tensor = call_filled(torch.empty, 0, dtype=self.dtype, device=self.device)
        return empty.set_(storage, *self.view)


class ExternalMemoryMode(TorchDispatchMode):
    """A dispatch mode that notes which external memory the kernels of a capture read, inside custom ops too."""

    supports_higher_order_operators = True

    def __init__(self, external: ExternalMemory) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.external = external

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        if is_higher_order(func):
            return call_inside(self, func, args, kwargs or {})
        kwargs, enters = kwargs or {}, _enters(func)
        if not enters and _is_composite(func):
            with (
                self
            ):  # inside a custom op a composite arrives undecomposed, and ``aten::to`` may copy or return its input
                return func.decompose(*args, **kwargs)
        if is_view(func):
            return self._view(func, args, kwargs) if enters else func(*args, **kwargs)
        self.external.note_reads(func._schema.name, tensors_in((args, [*kwargs.values()])))
        out = run_inside(self, func, args, kwargs) if enters else self.run(func, args, kwargs)
        self.external.note_created(tensors_in(out))
        return out

    def _view(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a custom op that declares views of its inputs. What it returns beside them all the same is memory that it made."""
        out = run_inside(self, func, args, kwargs)
        given = {tensor.untyped_storage()._cdata for tensor in tensors_in((args, [*kwargs.values()]))}
        self.external.note_created(tensor for tensor in tensors_in(out) if tensor.untyped_storage()._cdata not in given)
        return out

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an op that is a kernel. A subclass may record it."""
        return func(*args, **kwargs)


def run_inside(mode: TorchDispatchMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Run a custom op's implementation with a mode on, so that its inner ops are seen in its place."""
    device = next((tensor.device.type for tensor in tensors_in((args, [*kwargs.values()]))), "cpu")
    # An op without a kernel for this device is registered for all of them, under another dispatch key.
    own = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), device.upper())
    key = getattr(torch._C.DispatchKey, device.upper() if own else "CompositeExplicitAutograd")
    with mode:
        return func._op_dk(key, *args, **kwargs)


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """The tensors in an op's arguments or results. They nest only in lists and tuples, and pytree takes ten times as long."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from tensors_in(part)


@cache
def is_view(func: Any) -> bool:
    """Whether an op only returns views of its inputs: it launches no kernel and reads no element."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


@cache
def _is_composite(func: Any) -> bool:
    composite: bool = func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
    return composite


def _enters(func: Any) -> bool:
    """Whether the mode goes inside an op: a custom op, but no collective, which is one kernel whatever backend carries it."""
    return is_custom(func._schema.name) and not is_collective(func._schema.name)
