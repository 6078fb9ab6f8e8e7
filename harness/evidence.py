"""Evidence: what a mode leaves behind for the observers. Plain data, no judgement."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from harness.case import Case
from harness.source import SourceLine

if TYPE_CHECKING:
    from harness.subject import Layer, Oracle
    from harness.values import Difference

REPEATED = "repeated call"
Size = int | str


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """What a tensor looks like from outside. Sizes in elements; a symbolic size is its expression."""

    shape: tuple[Size, ...]
    stride: tuple[Size, ...]
    offset: Size
    dtype: str
    device: str
    contiguous: bool

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """The meta of a real or fake tensor. Adds no guard on a symbolic size."""
        return cls(
            shape=tuple(_size(size) for size in tensor.shape),
            stride=tuple(_size(step) for step in tensor.stride()),
            offset=_size(tensor.storage_offset()),
            dtype=str(tensor.dtype).removeprefix("torch."),
            device=tensor.device.type,
            contiguous=_dense_rows(tensor),
        )

    @property
    def width(self) -> Size:
        """The last dimension's size; 0 for a scalar."""
        return self.shape[-1] if self.shape else 0

    def __str__(self) -> str:
        return f"{self.dtype}{bracket(self.shape)} stride {bracket(self.stride)}"


def _size(value: Any) -> Size:
    return int(value) if isinstance(value, int) else str(value)


def bracket(sizes: Sequence[Size]) -> str:
    """Sizes as a message shows them: ``[7, 2688]``."""
    return f"[{', '.join(map(str, sizes))}]"


def _dense_rows(tensor: Tensor) -> bool:
    """Whether the tensor is contiguous, decided on the sizes' printed form so that a symbolic size gets no guard."""
    if any(size == 0 for size in tensor.shape if isinstance(size, int)):
        return True
    expected: Any = 1
    for size, step in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if isinstance(size, int) and size == 1:
            continue
        if str(step) != str(expected):
            return False
        expected = expected * size
    return True


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
    fake: tuple[TensorMeta | None, ...] | None = None
    fake_error: BaseException | None = None
    fake_again: tuple[TensorMeta | None, ...] | None = None
    fake_aliases: tuple[str, ...] = ()
    fake_writes: tuple[str, ...] = ()
    misfit: str = ""
    undeclared_writes: tuple[str, ...] = ()
    undeclared_aliases: tuple[str, ...] = ()
    outputs_overlap: bool = False

    @property
    def custom(self) -> bool:
        """Whether the op is not one of torch's own."""
        return is_custom(self.op)


def is_custom(op: str) -> bool:
    """Whether an op name (``namespace::name``) is not one of torch's own."""
    return op.partition("::")[0] not in {"aten", "prim", "prims", "inductor", "debugprims", "_c10d_functional"}


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
