"""Evidence: what a mode leaves for the observers to read. Plain data, no judgement."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.base.source import SourceLine
from harness.execution.memory.wrapped import parts_of, wraps_others
from harness.matrix.case import Case
from harness.ops.arguments import Plain
from harness.ops.fake_call import FakeCall
from harness.ops.names import is_custom
from harness.ops.tensor_bytes import bytes_of
from harness.ops.tensor_meta import TensorMeta
from harness.subjects.declared import Declared

if TYPE_CHECKING:
    from harness.execution.difference import Difference, Spread
    from harness.subjects.subject import Layer, Oracle

REPEATED = "repeated call"
WHEN_RETURNED = "the same output when it was returned"
CALL_WITH = "call with "  # the label of a varied call begins so


@dataclass(slots=True)
class Record:
    """One dispatched op, with the user's line and the stage of the layer that it belongs to.

    ``sources`` gives for each tensor input the index of the record that made it; None where no recorded op did.
    ``routed`` says that the op is the routed experts' or that an input came through it. ``fake`` is the fake call that
    belongs to a custom op, where the recorder made one. ``guards`` counts those that a trace added in the op,
    after ``guards_before``.
    ``plain`` holds the outputs that are no tensors. The next three fields name what the schema does not declare:
    arguments written to, arguments whose memory is returned, and outputs in each other's memory. ``untrue_aliases`` names
    arguments whose memory the schema says that an output shares, which this call's did not. ``shift`` is by how many columns a
    pad or a cut moves the rows: zeros in front of them, or columns that are left out there. ``routed_inputs`` says of each tensor
    input whether it came through the routed experts, and ``memory`` which storage it lies in. ``made`` holds the storages of the
    outputs, and ``written_memory`` those of ``undeclared_writes``. ``caller`` is the user's line that called the function of
    ``line``, where that only reduces.
    """

    op: str
    stage: str
    line: SourceLine | None
    inputs: tuple[TensorMeta, ...]
    sources: tuple[int | None, ...]
    routed: bool
    outputs: tuple[TensorMeta | None, ...] = ()
    error: BaseException | None = None
    fake: FakeCall | None = None
    guards: int = 0
    guards_before: int = 0
    undeclared_writes: tuple[str, ...] = ()
    undeclared_aliases: tuple[str, ...] = ()
    outputs_overlap: bool = False
    untrue_aliases: tuple[str, ...] = ()
    plain: Plain = ()
    shift: int = 0
    routed_inputs: tuple[bool, ...] = ()
    memory: tuple[int, ...] = ()
    made: tuple[int, ...] = ()
    written_memory: tuple[int, ...] = ()
    caller: SourceLine | None = None

    @property
    def custom(self) -> bool:
        """Whether the op is not one of torch's own."""
        return is_custom(self.op)

    def made_guard(self, place: int) -> bool:
        """Whether the trace's guard at this place was added in the op; of an unknown place, -1, whether any was."""
        return self.guards > 0 if place < 0 else 0 <= place - self.guards_before < self.guards


@dataclass(frozen=True, slots=True)
class Unwritten:
    """What a graph reads that another graph's capture made, as text, and the user's line that reads it."""

    text: str
    line: SourceLine | None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Miscut:
    """How a cut of the padding reads other rows than it should, as text, and the user's line that cuts."""

    text: str
    line: SourceLine | None


@dataclass(frozen=True, slots=True)
class Varied:
    """What was varied in a call: the variation's name, ``tokens=65``, and what it is in plain words, ``65 tokens``."""

    name: str
    words: str

    @property
    def group(self) -> str:
        """The part of the name before ``=``."""
        return self.name.partition("=")[0]


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What a variation left behind in the process, and the user's line if it is known.

    ``recompiled`` says that it is graphs that were compiled more than once, ``fixed`` that each number of tokens has its own.
    ``op`` is that whose fake does it, and ``stage`` its stage; empty where none is known.
    """

    varied: Varied
    what: str
    line: SourceLine | None = None
    recompiled: bool = False
    fixed: bool = False
    op: str = ""
    stage: str = ""


@dataclass(slots=True, eq=False)
class Call:
    """One call of the layer.

    ``before`` holds copies of the inputs from before the call, ``snapshot`` a copy of the output from right after it, and
    ``expected`` the oracle's output. ``difference`` caches how the snapshot differs from it, since three observers ask.
    ``routed`` says whether the output came through the routed experts' op; None where no ops were recorded.
    ``changed_global_state`` names the global state that the call changed. ``with_grad`` says that grad mode was on.
    ``poisoned`` says that the padded tail of the routed experts' output was overwritten with NaN.
    ``replayed`` marks the replay of a graph, which writes the same output buffer each time. ``padding_rows`` counts the rows
    that filled the batch up to the size of its graph. ``seed`` made the inputs. ``fresh_differs`` says whether a fresh layer
    is wrong on them too; None where none was called. ``outside`` says that a fresh layer is then wrong for the inputs of the
    first call too, which was right. ``by_grad`` says that a fresh layer is right without grad mode. ``unwritten`` says which
    memory the replayed graph reads that another graph's capture made. ``absent`` holds the places of optional inputs that
    either this batch or the captured one lacks.
    ``varied`` says what a variation changed; None in a plain call. ``reference`` says whose output ``expected`` is; empty for
    the oracle's.
    ``case`` is the case of the layer where it is not the run's. ``varied_inputs`` are the places of the inputs each of which
    shows a fault when it alone is varied. ``overwrote_beside`` says what the call wrote beside an input, into its buffer; empty
    for nothing.
    ``right_in_other_order`` says that a fresh layer is right for the same rows in another order. ``same_shards`` says which ranks
    gave the same to a reduction. ``other_routing`` says that the experts got other ids than in a plain call on the same inputs.
    ``facts`` are sentences on what is wrong in what is passed on inside an op, ``misrouted`` says that one is of the routing.
    ``zero_parts`` are the parts, "routed" or "shared", of which the routed experts' op returns nothing but zeros.
    ``mispadded`` says that the rows of the wrong tokens do not reach that op, whose rows are padded.
    ``miscut`` says which cut of the padding alone makes the call wrong; None for none. ``unreduced`` says that the wrong rows are
    this rank's own, which no reduction sums.
    ``spread`` is the spread of the factors by token in a larger batch of a fresh layer, where this call has one; None for none.
    ``memory_of`` is the op that first returned the memory in which the output lies; None where none was recorded.
    ``by_other_inputs`` says that a layer is right where all calls before had these inputs too, and so counts none.
    ``by_row`` says that a row which is wrong in a call of one token, or of many, is wrong in a batch of the first call's size too.
    ``eager_too`` says that eager code is wrong for the inputs of a compiled call too.
    ``earlier`` holds the token counts of the calls of this layer before, where it takes more of them than the first to be wrong.
    ``not_run`` is the stage of the one part that a fresh layer runs for the same inputs, and this call did not; empty for none.
    ``first_nan`` is where NaN first appears in a fresh layer for the inputs of a varied call; None where that is not known.
    ``began_as_nan`` says that the output held nothing but NaN when its replay began. ``own_count_too`` is the case's own number of
    tokens, where the replay of a graph for that is wrong too; else 0.
    ``of_process`` says that a fresh layer is right where nothing is held for all layers either, and only there.
    ``counted`` says whose tokens a limit counts: "batch", or "expert" for those of one expert; empty where that is not known.
    ``limit`` says up to which size or number a layer is right, and from which on it is not; empty where that is not known.
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
    memory_of: Record | None = None
    changed_global_state: tuple[str, ...] = ()
    with_grad: bool = False
    poisoned: bool = False
    replayed: bool = False
    padding_rows: int = 0
    seed: int = 0
    fresh_differs: bool | None = None
    outside: bool = False
    by_grad: bool = False
    unwritten: "Unwritten | None" = None
    absent: tuple[int, ...] = ()
    varied: Varied | None = None
    case: Case | None = None
    reference: str = ""
    varied_inputs: tuple[int, ...] = ()
    overwrote_beside: str = ""
    right_in_other_order: bool = False
    by_other_inputs: bool = False
    same_shards: str = ""
    other_routing: bool = False
    misrouted: bool = False
    facts: tuple[str, ...] = ()
    zero_parts: frozenset[str] = frozenset()
    mispadded: bool = False
    miscut: "Miscut | None" = None
    unreduced: bool = False
    spread: "Spread | None" = None
    by_row: bool = False
    eager_too: bool = False
    earlier: tuple[int, ...] = ()
    not_run: str = ""
    first_nan: "FirstNaN | None" = None
    limit: str = ""
    began_as_nan: bool = False
    own_count_too: int = 0
    of_process: bool = False
    counted: str = ""

    @property
    def shown_by(self) -> str:
        """The variation that alone shows what is wrong in this call; empty where there is none, or other calls must come before."""
        return "" if self.varied is None or self.earlier else self.varied.name

    @property
    def failed_record(self) -> Record | None:
        """The last recorded op that raised; None where none did."""
        return next((record for record in reversed(self.records) if record.error), None)


@dataclass(frozen=True, slots=True)
class FirstNaN:
    """The op in whose output NaN first appeared, in ``rows`` of ``count``, and the user's line.

    ``weight`` names the layer's tensor that held the NaN before; ``reads_nan`` says that some input of the op held one.
    ``is_later`` says that an op before it gave NaN too, in a tensor whose rows are no tokens.
    ``outputs`` are the indices of the outputs that hold it. ``tail`` says that the op was given NaN in an input's padded
    columns, and ``unwritten`` that the memory of these was made without contents, at ``line``.
    """

    op: str
    line: SourceLine | None
    rows: tuple[int, ...]
    count: int
    weight: str
    reads_nan: bool
    is_later: bool = False
    outputs: tuple[int, ...] = (0,)
    tail: bool = False
    unwritten: bool = False


@dataclass(slots=True)
class Graph:
    """One graph that Dynamo gave to the backend: the names of its ops, and the token counts that its trace allows."""

    ops: tuple[str, ...]
    allows: Callable[[int], bool] = lambda tokens: False


@dataclass(slots=True)
class Run:
    """Everything one mode did with one case.

    ``state_before`` and ``state_after`` hold the layer's tensors by name, before its first call and after its last.
    ``changed_state`` names those whose bits changed. ``reads_changed_state`` is False where a run has shown that the changes
    reach no output. ``graphs`` is None in modes that compile nothing. ``specialised`` says to what the trace fixed the
    token count. ``settings`` are torch's settings that this mode pins to other values. ``declared`` is what the subject
    declares of the layer. ``built_memory`` holds the addresses of the layer's tensors as it was built.
    ``first_nan`` is where NaN comes from. ``trace_is_clean`` says that a trace of a call that raised did not raise.
    ``specialised_at`` is the line that restricts the token count, ``specialised_by`` the op whose fake it belongs to.
    ``specialised_by_torch`` says that torch's code alone asked for it, about a size of 0 or 1 or about two that are equal.
    ``changed_by`` is the variation that changed the layer's state. ``left_out`` has the reason why a variation was
    not judged, by the variation's name: what the subject declares, or a clear error of the layer where that is right.
    ``left_behind`` is what variations left in the process. ``routed_output`` is the index of the routed experts' output among
    those of the first op; None where all are theirs.
    ``recompiled_for`` is Dynamo's reason for a second compilation: the guard that failed. ``split_by_backend`` says that
    this guard is one by which the backend divides the token counts into ranges, and none of the layer's. ``uncompiled`` says that
    a compiled mode compiled nothing, since a fake has larger elements than its op gives.
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
    declared: Declared = field(default_factory=Declared)
    built_memory: frozenset[int] = frozenset()
    first_nan: FirstNaN | None = None
    trace_is_clean: bool = False
    specialised_at: SourceLine | None = None
    specialised_by: str = ""
    specialised_by_torch: bool = False
    recompiled_for: str = ""
    split_by_backend: bool = False
    uncompiled: bool = False
    changed_by: Varied | None = None
    left_behind: list[LeftBehind] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    routed_output: int | None = None

    @property
    def plain_calls(self) -> list[Call]:
        """The calls without a variation."""
        return [call for call in self.calls if call.varied is None]

    def case_of(self, call: Call) -> Case:
        """The case of a call's layer, with the call's number of tokens."""
        return replace(call.case or self.case, tokens=call.tokens)

    @property
    def repeats(self) -> bool:
        """Whether the repeated call gave the same bits as the first call."""
        return _repeats(self.calls)

    @property
    def failed(self) -> bool:
        """Whether a call raised."""
        return any(call.error for call in self.calls)


def _repeats(calls: list[Call]) -> bool:
    repeated = next((call for call in calls if call.label == REPEATED), None)
    first, second = calls[0].snapshot if calls else None, repeated.snapshot if repeated else None
    return isinstance(first, Tensor) and isinstance(second, Tensor) and same_bits(first, second)


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors hold the same bytes, NaN included; of tensors that wrap others, whether those do."""
    if wraps_others(left) and wraps_others(right):
        parts = [dict(parts_of("", tensor)) for tensor in (left, right)]
        return parts[0].keys() == parts[1].keys() and all(
            same_bits(parts[0][name], parts[1][name]) for name in parts[0]
        )
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    flat = [bytes_of(tensor) for tensor in (left, right)]
    # Eight bytes at a time where both are aligned: comparing single bytes takes eight times as long.
    if all(part.numel() % 8 == 0 and part.data_ptr() % 8 == 0 for part in flat):
        flat = [part.view(torch.int64) for part in flat]
    return torch.equal(*flat)


def state_of(layer: object) -> dict[str, Tensor]:
    """The tensors of a layer and its submodules by name: parameters, buffers and plain attributes; what they wrap, if anything."""
    modules = dict(layer.named_modules()) if isinstance(layer, torch.nn.Module) else {"": layer}
    tensors: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        attributes = dict(getattr(module, "__dict__", {}))
        attributes |= attributes.pop("_parameters", {}) | attributes.pop("_buffers", {})
        for name, value in attributes.items():
            if isinstance(value, Tensor):
                tensors.update(parts_of(f"{prefix}.{name}".lstrip("."), value))
    return tensors
