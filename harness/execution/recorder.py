"""The recorder: a dispatch mode that records each op of a call, with its stage, the user's line, and where its inputs came from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.base.source import SourceLine
from harness.execution.evidence import Record, same_bits
from harness.execution.memory.fresh_memory import call_filled, copy_of
from harness.execution.memory.wrapped import wrap_others
from harness.execution.stages import EXPERTS, REDUCE, stage_of
from harness.execution.submodules import Submodules
from harness.matrix.case import Case
from harness.ops.arguments import (
    declared_writes,
    metas,
    not_written,
    overlap,
    plain,
    undeclared_aliases,
    untrue_aliases,
)
from harness.ops.fake_call import FakeCallMode, answer_of_fake, call_fake, lines_of_fake
from harness.ops.higher_order import call_inside, is_higher_order
from harness.ops.names import is_custom, op_name
from harness.ops.shifts import shift
from harness.ops.tensor_meta import TensorMeta


class Recorder(TorchDispatchMode):
    """Records every op of a call in ``records``.

    ``contract`` also calls the fake of each custom op and looks for undeclared aliases. ``audit`` does that, and looks for
    undeclared writes. ``poison`` overwrites the padded tail of the routed experts' output with NaN. ``fakes`` is the mode to
    call fakes in, if it is shared. ``routed_output`` is the index of the routed experts' output among those of their op, or
    None where all outputs are theirs. ``reduces_by`` names the ops that reduce, beside those known by name. ``submodules``
    has the stage of each submodule that makes one, by its path in the layer: every op inside is of that stage.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        case: Case,
        experts_op: str,
        *,
        audit: bool = False,
        contract: bool = False,
        poison: bool = False,
        fakes: FakeCallMode | None = None,
        routed_output: int | None = None,
        reduces_by: tuple[str, ...] = (),
        submodules: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fakes = fakes or FakeCallMode()
        self.case, self.experts_op, self.routed_output, self.poison = case, experts_op, routed_output, poison
        self.audit, self.contract, self.reduces_by = audit, audit or contract, reduces_by
        self.records: list[Record] = []
        self.higher_order = False  # whether the call used an operator such as torch.cond
        self.poisoned = False  # whether there was a padded tail to overwrite
        self._submodules = Submodules(submodules)
        self._maker: dict[int, int] = {}
        self._routed_storages: set[int] = set()
        self._memory: dict[int, Record] = {}
        self._not_routed: set[int] = set()
        self._alive: list[Tensor] = []  # tensors are known by their id, which is unique only while they live

    def __enter__(self) -> "Recorder":
        self._submodules.start(self._left)
        return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._submodules.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if is_higher_order(func):
            return self._higher_order(func, args, kwargs, tensors)
        record = self._open(op_name(func), tensors)
        record.shift = shift(op_name(func), args)
        real = record.custom and not any(isinstance(t, FakeTensor) for t in tensors)
        guards = _guards_of(tensors)
        before = answer_of_fake(self._fakes, func, args, kwargs) if self.contract and real else None
        try:
            with _watch_writes(record, func, args, kwargs) if self.audit and real else nullcontext():
                out = call_filled(func, *args, **kwargs)
        except Exception as error:
            record.error = error
            raise
        finally:
            record.guards_before, record.guards = guards, _guards_of(tensors) - guards
        if self.contract and real:
            record.fake = call_fake(self._fakes, func, args, kwargs, cuda=self.audit, before=before)
            if record.fake.outputs not in (None, metas(out)):
                record.fake.lines = lines_of_fake(self._fakes, func, args, kwargs)
            record.plain = plain(out)
            record.untrue_aliases = untrue_aliases(func, args, kwargs, out)
            record.undeclared_aliases = undeclared_aliases(func, args, kwargs, out)
            record.outputs_overlap = overlap(func, out)
        self._close(record, out, declared_writes(func, args, kwargs))
        return out

    def _higher_order(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Record a higher-order operator, which has no schema, and the ops inside its functions."""
        self.higher_order = True
        record = self._open(f"prim::{func.name()}", tensors)
        out = call_inside(self, func, args, kwargs)
        self._close(record, out, [])
        return out

    def _open(self, op: str, tensors: list[Tensor]) -> Record:
        """A record of an op that is about to run."""
        sources = tuple(self._maker.get(id(tensor)) for tensor in tensors)
        routed = tuple(self.is_routed(tensor) for tensor in tensors)
        inputs = tuple(TensorMeta.of(tensor) for tensor in tensors)
        stage = REDUCE if op in self.reduces_by else self._submodules.stage
        if not stage:
            stage = stage_of(op, inputs, routed, self.case, self.experts_op, bool(self._submodules.paths))
        # The whole submodule makes the routed part, so that a view of its input is not routed: see _left.
        starts = stage == EXPERTS and not self._submodules.stage
        record = Record(op, stage, SourceLine.here(), inputs, sources, any(routed) or starts, routed_inputs=routed)
        record.memory = tuple(tensor.untyped_storage()._cdata for tensor in tensors)
        record.caller = SourceLine.of_caller() if stage == REDUCE else None
        self.records.append(record)
        return record

    def _close(self, record: Record, out: Any, writes: list[Tensor]) -> None:
        """Complete the record of the op that has just run."""
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        record.outputs, record.made = metas(out), tuple(tensor.untyped_storage()._cdata for tensor in outputs)
        own_op = record.stage == EXPERTS and not self._submodules.stage
        routed = self._experts_outputs(outputs) if own_op else outputs
        for tensor in outputs:
            self._maker[id(tensor)] = len(self.records) - 1
            self._memory.setdefault(tensor.untyped_storage()._cdata, record)
            self._alive.append(tensor)
        if record.routed and not own_op:  # what an op wrote into came through it
            self._not_routed -= {id(tensor) for tensor in (*outputs, *writes)}
        if record.routed:
            self._routed_storages |= {tensor.untyped_storage()._cdata for tensor in (*routed, *writes)}

    def _left(self, stage: str, output: Any) -> None:
        """Take what a submodule returned as the routed experts' output, if it is theirs and was made there."""
        for tensor in (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)):
            source = self._maker.get(id(tensor))
            if stage == EXPERTS and source is not None:
                self.records[source].routed = True
                self._routed_storages.add(tensor.untyped_storage()._cdata)

    def _experts_outputs(self, outputs: list[Tensor]) -> list[Tensor]:
        """The outputs of the routed experts' op that are theirs, with the padded tail poisoned if that was asked for."""
        routed = outputs
        if self.routed_output is not None:
            routed = outputs[self.routed_output : self.routed_output + 1]
            self._not_routed |= {id(tensor) for tensor in outputs if all(tensor is not one for one in routed)}
        if self.poison:
            for tensor in routed:
                self.poisoned |= self._has_tail(tensor) and _poison_tail(tensor, self.case.width)
        return routed

    def _has_tail(self, tensor: Tensor) -> bool:
        """Whether an output of the experts' op may have a padded tail. One of torch's own ops makes other tensors too."""
        return is_custom(self.experts_op) or (tensor.dim() > 0 and tensor.shape[-1] == self.case.padded)

    def memory_of(self, tensor: Tensor) -> Record | None:
        """The op that first returned the memory of a tensor."""
        return self._memory.get(tensor.untyped_storage()._cdata)

    def is_routed(self, tensor: Tensor) -> bool:
        """Whether a tensor came through the routed experts, or shares its storage with one that did."""
        if id(tensor) in self._not_routed:
            return False
        source = self._maker.get(id(tensor))
        made = source is not None and self.records[source].routed
        return made or tensor.untyped_storage()._cdata in self._routed_storages


def _guards_of(tensors: list[Tensor]) -> int:
    """The number of guards in the trace that fake tensors belong to."""
    env = next((tensor.fake_mode.shape_env for tensor in tensors if isinstance(tensor, FakeTensor)), None)
    return len(env.guards) if env else 0


def _poison_tail(tensor: Tensor, width: int) -> bool:
    """Overwrite the columns beyond ``width`` with NaN; whether there are any."""
    padded = tensor.is_floating_point() and tensor.dim() > 0 and tensor.shape[-1] > width
    if padded:
        tensor[..., width:] = torch.nan
    return padded


@contextmanager
def _watch_writes(record: Record, func: Any, args: Any, kwargs: Any) -> Iterator[None]:
    """Compare each argument that the schema does not declare as written before and after the op."""
    copies = [(name, leaf, copy_of(leaf)) for name, leaf in not_written(func, args, kwargs)]
    yield
    written = [(name, now.untyped_storage()._cdata) for name, now, before in copies if not same_bits(now, before)]
    record.undeclared_writes = tuple(name for name, _ in written)
    record.written_memory = tuple(memory for _, memory in written)
