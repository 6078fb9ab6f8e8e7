"""Evidence: what a mode leaves behind for the observers. Plain data, no judgement."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.base.source import SourceLine
from harness.matrix.case import Case
from harness.ops.fake_call import FakeCall
from harness.ops.names import is_custom
from harness.ops.tensor_meta import TensorMeta

if TYPE_CHECKING:
    from harness.execution.difference import Difference
    from harness.subjects.subject import Layer, Oracle

REPEATED = "repeated call"


@dataclass(slots=True)
class Record:
    """One dispatched op. ``sources`` holds, per tensor input, the index of the record that made it (None: from outside)."""

    op: str
    stage: str
    line: SourceLine | None
    inputs: tuple[TensorMeta, ...]
    sources: tuple[int | None, ...]
    routed: bool
    outputs: tuple[TensorMeta | None, ...] = ()
    error: BaseException | None = None
    fake: FakeCall | None = None
    undeclared_writes: tuple[str, ...] = ()
    undeclared_aliases: tuple[str, ...] = ()
    outputs_overlap: bool = False

    @property
    def custom(self) -> bool:
        """Whether the op is not one of torch's own."""
        return is_custom(self.op)


@dataclass(slots=True)
class Call:
    """One call of the layer. ``snapshot`` is the output as it was right after the call.

    ``difference`` keeps how it differs from ``expected``, once an observer has asked: three of them do. ``routed`` says
    whether the output came through the routed experts' op, where that was recorded; ``left`` names what of torch's
    global state the call left changed; ``with_grad`` says that grad mode was on. ``replayed`` is the replay of a graph,
    which writes the same output buffer each time; ``filled`` counts the rows of padding that filled its batch up.
    """

    label: str
    tokens: int
    inputs: tuple[Tensor, ...]
    before: tuple[Tensor, ...] = ()
    output: Tensor | None = None
    snapshot: Tensor | None = None
    error: BaseException | None = None
    records: list[Record] = field(default_factory=list)
    expected: "Oracle | None" = None
    difference: "tuple[Difference | None] | None" = None
    routed: bool | None = None
    left: tuple[str, ...] = ()
    with_grad: bool = False
    replayed: bool = False
    filled: int = 0


@dataclass(slots=True)
class Graph:
    """One graph that Dynamo handed to the backend: the ops in it."""

    ops: tuple[str, ...]


@dataclass(slots=True)
class Run:
    """Everything one mode did with one case.

    ``changed_state`` names the tensors that the layer held before its first call and holds with other bits after its last;
    ``reads_changed_state`` is False where it was seen that what calls change in the layer's state reaches no output.
    ``settings`` are those of torch that this mode pins otherwise.
    """

    case: Case
    mode: str
    ops: tuple[str, ...]
    layer: "Layer | None" = None
    emulated: bool = False
    calls: list[Call] = field(default_factory=list)
    state_before: dict[str, Tensor] = field(default_factory=dict)
    state_after: dict[str, Tensor] = field(default_factory=dict)
    graphs: list[Graph] | None = None
    specialised: str | None = None
    changed_state: tuple[str, ...] = ()
    reads_changed_state: bool = True
    proof: Any = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def repeats(self) -> bool:
        """Whether the first inputs came again and gave the same bits."""
        return _repeats(self.calls)

    @property
    def failed(self) -> bool:
        """Whether a call raised."""
        return any(call.error for call in self.calls)


def _repeats(calls: list[Call]) -> bool:
    again = next((call for call in calls if call.label == REPEATED), None)
    first, second = calls[0].snapshot if calls else None, again.snapshot if again else None
    return isinstance(first, Tensor) and isinstance(second, Tensor) and same_bits(first, second)


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors hold the same bytes, NaN included."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    flat = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right)]
    # As words where both can be: comparing bytes one by one takes eight times as long.
    if all(part.numel() % 8 == 0 and part.data_ptr() % 8 == 0 for part in flat):
        flat = [part.view(torch.int64) for part in flat]
    return torch.equal(*flat)


def all_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite. Their sum tells in one pass; where it overflows, each is looked at."""
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(torch.isfinite(tensor).all())


def state_of(layer: object) -> dict[str, Tensor]:
    """Every tensor a layer holds: parameters, buffers and plain attributes, of it and of its submodules."""
    modules = dict(layer.named_modules()) if isinstance(layer, torch.nn.Module) else {"": layer}
    held: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        attributes = dict(getattr(module, "__dict__", {}))
        attributes |= attributes.pop("_parameters", {}) | attributes.pop("_buffers", {})
        for name, value in attributes.items():
            if isinstance(value, Tensor):
                held[f"{prefix}.{name}".lstrip(".")] = value
    return held
