"""The recorder: a dispatch mode that writes down each op with its stage, line, widths and where its inputs came from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.case import Case
from harness.evidence import Record, TensorMeta, same_bits
from harness.signatures import misfit
from harness.source import SourceLine
from harness.stages import EXPERTS, stage_of


def op_name(func: Any) -> str:
    """``namespace::name`` of an OpOverload."""
    return str(func._schema.name)


class Recorder(TorchDispatchMode):
    """Records every op of a call.

    ``contract`` compares each custom op with its fake; ``audit`` does too, and looks for undeclared writes and aliases;
    ``poison`` fills what the routed experts wrote beyond the true width with NaN. ``fakes`` is ``asking()``, if shared.
    """

    def __init__(
        self,
        case: Case,
        experts: str,
        *,
        audit: bool = False,
        contract: bool = False,
        poison: bool = False,
        fakes: "Asking | None" = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fakes = fakes or asking()
        self.case, self.experts, self.poison = case, experts, poison
        self.audit, self.contract = audit, audit or contract
        self.records: list[Record] = []
        self._maker: dict[int, int] = {}
        self._routed_memory: set[int] = set()
        self._kept: list[Tensor] = []  # ids stay valid only while the tensors live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        record = self._open(op_name(func), tensors)
        real = record.custom and not any(isinstance(t, FakeTensor) for t in tensors)
        watch = self.audit and real
        try:
            with _watched(record, func, args, kwargs) if watch else _plain():
                out = func(*args, **kwargs)
        except Exception as error:
            record.error = error
            raise
        if self.contract and real:
            _ask_fake(record, self._fakes, func, args, kwargs)
            record.undeclared_aliases = undeclared_aliases(func, args, kwargs, out)
            record.outputs_overlap = _overlap(func, out)
        self._close(record, out, _written(func, args, kwargs))
        return out

    def _open(self, op: str, tensors: list[Tensor]) -> Record:
        sources = tuple(self._maker.get(id(tensor)) for tensor in tensors)
        routed = tuple(self.is_routed(tensor) for tensor in tensors)
        inputs = tuple(TensorMeta.of(tensor) for tensor in tensors)
        stage = stage_of(op, inputs, routed, self.case, self.experts)
        record = Record(op, stage, SourceLine.here(), inputs, sources, any(routed) or stage == EXPERTS)
        self.records.append(record)
        return record

    def _close(self, record: Record, out: Any, written: list[Tensor]) -> None:
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        record.outputs = metas(out)
        if self.poison and record.stage == EXPERTS:
            _poison_tail(outputs, self.case.width)
        for tensor in outputs:
            self._maker[id(tensor)] = len(self.records) - 1
            self._kept.append(tensor)
        if record.routed:
            self._routed_memory |= {tensor.untyped_storage()._cdata for tensor in (*outputs, *written)}

    def is_routed(self, tensor: Tensor) -> bool:
        """Whether a tensor came through the routed experts, or lies in memory that such a one was written to."""
        source = self._maker.get(id(tensor))
        made = source is not None and self.records[source].routed
        return made or tensor.untyped_storage()._cdata in self._routed_memory


def metas(out: Any) -> tuple[TensorMeta | None, ...]:
    """The meta of each output; None where an output is no tensor."""
    return tuple(TensorMeta.of(leaf) if isinstance(leaf, Tensor) else None for leaf in tree_leaves(out))


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that an op says it writes to."""
    if not func._schema.is_mutable:
        return []
    return [
        leaf
        for argument, value in _arguments(func, args, kwargs)
        if argument.alias_info and argument.alias_info.is_write
        for leaf in tree_leaves(value)
        if isinstance(leaf, Tensor)
    ]


@contextmanager
def _plain() -> Iterator[None]:
    yield


def _poison_tail(outputs: list[Tensor], width: int) -> None:
    for tensor in outputs:
        if tensor.is_floating_point() and tensor.dim() and tensor.shape[-1] > width:
            tensor[..., width:] = torch.nan


def _arguments(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """(schema argument, value) for every argument given."""
    schema = func._schema.arguments
    yield from zip(schema, args, strict=False)
    by_name = {argument.name: argument for argument in schema}
    for name, value in kwargs.items():
        yield by_name[name], value


def _silent(func: Any, args: Any, kwargs: Any) -> list[tuple[str, Tensor]]:
    """(argument's name, tensor) for each tensor that the schema does not say is written to."""
    return [
        (argument.name, leaf)
        for argument, value in _arguments(func, args, kwargs)
        if not (argument.alias_info and argument.alias_info.is_write)
        for leaf in tree_leaves(value)
        if isinstance(leaf, Tensor)
    ]


@contextmanager
def _watched(record: Record, func: Any, args: Any, kwargs: Any) -> Iterator[None]:
    """Note each tensor argument that the op changes without saying so in its schema."""
    silent = [(name, leaf, leaf.clone()) for name, leaf in _silent(func, args, kwargs)]
    yield
    record.undeclared_writes = tuple(name for name, now, before in silent if not same_bits(now, before))


def undeclared_aliases(func: Any, args: Any, kwargs: Any, out: Any) -> tuple[str, ...]:
    """Names of arguments whose storage an output shares although the schema declares no alias."""
    if any(returned.alias_info for returned in func._schema.returns):
        return ()
    storages = {leaf.untyped_storage()._cdata for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.numel()}
    return tuple(
        argument.name
        for argument, value in _arguments(func, args, kwargs)
        for leaf in tree_leaves(value)
        if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata in storages
    )


def _overlap(func: Any, out: Any) -> bool:
    """Whether two outputs lie in one storage: no schema can declare it, and torch forbids it."""
    if any(returned.alias_info for returned in func._schema.returns):
        return False
    storages = [leaf.untyped_storage()._cdata for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.numel()]
    return len(set(storages)) < len(storages)


class Asking(FakeTensorMode):
    """Notes which tensors were written to inside it: below autograd no version counter tells."""

    def __init__(self) -> None:
        super().__init__()
        self.written: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.written |= {id(tensor) for tensor in _written(func, args, kwargs or {})}
        return super().__torch_dispatch__(func, types, args, kwargs)


def asking() -> Asking:
    """A mode to ask fake implementations in; it keeps the fakes of tensors that live, such as weights."""
    mode = Asking()
    mode.cache_enabled = False  # a second answer must be its own
    return mode


def _ask_fake(record: Record, mode: Asking, func: Any, args: Any, kwargs: Any) -> None:
    """What the fake implementation gives, twice, for the arguments as they are now."""
    record.misfit = misfit(func)
    try:
        with mode, torch.no_grad():
            faked = tree_map_only(Tensor, lambda t: mode.from_tensor(t, static_shapes=True), (args, kwargs))
            mode.written.clear()
            out = func(*faked[0], **faked[1])
            record.fake_writes = tuple(name for name, leaf in _silent(func, *faked) if id(leaf) in mode.written)
            record.fake, record.fake_again = metas(out), metas(func(*faked[0], **faked[1]))
        record.fake_aliases = undeclared_aliases(func, faked[0], faked[1], out)
    except Exception as error:  # a fake may raise anything; that is what we look for
        record.fake_error = error
