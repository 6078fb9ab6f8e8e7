"""The recorder: a dispatch mode that writes down each op with its stage, line, widths and where its inputs came from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.base.source import SourceLine
from harness.execution.evidence import Record, same_bits
from harness.execution.stages import EXPERTS, stage_of
from harness.matrix.case import Case
from harness.ops.arguments import metas, overlap, silent, undeclared_aliases, written
from harness.ops.fake_call import FakeCallMode, call_fake
from harness.ops.names import op_name
from harness.ops.tensor_meta import TensorMeta


class Recorder(TorchDispatchMode):
    """Records every op of a call.

    ``contract`` compares each custom op with its fake; ``audit`` does too, and looks for undeclared writes and aliases;
    ``poison`` fills what the routed experts wrote beyond the true width with NaN. ``fakes`` is the mode to ask in, if shared;
    ``routed`` the place of the routed experts among the outputs of their op, if not all are.
    """

    def __init__(
        self,
        case: Case,
        experts: str,
        *,
        audit: bool = False,
        contract: bool = False,
        poison: bool = False,
        fakes: FakeCallMode | None = None,
        routed: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fakes = fakes or FakeCallMode()
        self.case, self.experts, self.routed, self.poison = case, experts, routed, poison
        self.audit, self.contract = audit, audit or contract
        self.records: list[Record] = []
        self._maker: dict[int, int] = {}
        self._routed_memory: set[int] = set()
        self._beside: set[int] = set()
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
            record.fake = call_fake(self._fakes, func, args, kwargs)
            record.undeclared_aliases = undeclared_aliases(func, args, kwargs, out)
            record.outputs_overlap = overlap(func, out)
        self._close(record, out, written(func, args, kwargs))
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
        routed = outputs
        if record.stage == EXPERTS:
            if self.routed is not None:
                routed = outputs[self.routed : self.routed + 1]
                self._beside |= {id(tensor) for tensor in outputs if all(tensor is not one for one in routed)}
            if self.poison:
                _poison_tail(routed, self.case.width)
        for tensor in outputs:
            self._maker[id(tensor)] = len(self.records) - 1
            self._kept.append(tensor)
        if record.routed:
            self._routed_memory |= {tensor.untyped_storage()._cdata for tensor in (*routed, *written)}

    def is_routed(self, tensor: Tensor) -> bool:
        """Whether a tensor came through the routed experts, or lies in memory that such a one was written to."""
        if id(tensor) in self._beside:
            return False
        source = self._maker.get(id(tensor))
        made = source is not None and self.records[source].routed
        return made or tensor.untyped_storage()._cdata in self._routed_memory


@contextmanager
def _plain() -> Iterator[None]:
    yield


def _poison_tail(outputs: list[Tensor], width: int) -> None:
    for tensor in outputs:
        if tensor.is_floating_point() and tensor.dim() and tensor.shape[-1] > width:
            tensor[..., width:] = torch.nan


@contextmanager
def _watched(record: Record, func: Any, args: Any, kwargs: Any) -> Iterator[None]:
    """Note each tensor argument that the op changes without saying so in its schema."""
    kept = [(name, leaf, leaf.clone()) for name, leaf in silent(func, args, kwargs)]
    yield
    record.undeclared_writes = tuple(name for name, now, before in kept if not same_bits(now, before))
