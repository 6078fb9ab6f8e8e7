"""From the records of a call to its stages: ops of one stage are one step, and each belongs to a branch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from harness.account.account import BOTH, ROUTED, SHARED
from harness.execution import stages
from harness.execution.evidence import Record
from harness.ops.tensor_meta import TensorMeta

# Ops that only look at a tensor in another way. Of a weight they are no step; of an activation they belong to its step.
_LOOKS = frozenset(
    ("t", "transpose", "permute", "detach", "alias", "view", "_to_copy", "expand", "unsqueeze", "squeeze", "lift_fresh")
)


@dataclass
class Group:
    """The records of one step, with their places in the call; ``inputs`` are places of groups.

    ``output`` is which output of its last op the step is about, where the op has several.
    """

    stage: str
    records: list[Record] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    branch: str = ""
    output: int = 0

    @property
    def last(self) -> Record:
        """The record that made the step's tensor, or that raised."""
        return self.records[-1]

    def made(self, outputs: Sequence[TensorMeta | None] | None) -> TensorMeta | None:
        """The step's tensor among the outputs of its last op, or of that op's fake; None where there is none."""
        return next((output for output in (outputs or ())[self.output :] if output), None)


def groups(records: list[Record], routed_output: int = 0) -> list[Group]:
    """The steps of a call, in order. ``routed_output`` is which output of the routed experts' op is theirs."""
    found: list[Group] = []
    group_of: dict[int, int] = {}  # place of a record -> place of its group
    for place, record in enumerate(records):
        sources = [group_of[source] for source in record.sources if source is not None and source in group_of]
        if not _counts(record, sources):
            continue
        number = _joins(record, sources, found)
        if number is None:
            number = len(found)
            found.append(Group(record.stage, output=routed_output if record.stage == stages.EXPERTS else 0))
        group_of[place] = number
        found[number].records.append(record)
        found[number].inputs += [n for n in sources if n != number and n not in found[number].inputs]
    _name_branches(found)
    return found


def _counts(record: Record, sources: list[int]) -> bool:
    """Whether a record is part of a step: it made a tensor or raised, and does not only look at a weight."""
    if record.error is None and not any(record.outputs):
        return False
    return bool(sources) or _name(record) not in _LOOKS


def _joins(record: Record, sources: list[int], found: list[Group]) -> int | None:
    """The group that a record goes on with: that of its input where the stage is the same or it only looks at it."""
    for number in sources:
        looks = _name(record) in _LOOKS and record.stage not in (stages.UNPAD,)
        if looks or found[number].stage == record.stage != stages.ADD:
            return number
    return None


def _name(record: Record) -> str:
    return record.op.partition("::")[2]


def _name_branches(found: list[Group]) -> None:
    """Routed: leads to the routed experts or comes of them alone. Shared: meets them later. Both: after they have met."""
    experts = {n for n, group in enumerate(found) if group.stage == stages.EXPERTS}
    leads = set(_before(found, experts))
    routed = experts | leads
    for number, group in enumerate(found):
        if number in routed or not (group.inputs or group.last.routed):
            group.branch = ROUTED if number in routed else SHARED
            continue
        kinds = {found[n].branch for n in group.inputs}
        group.branch = kinds.pop() if len(kinds) == 1 else BOTH


def _before(found: list[Group], numbers: set[int]) -> Iterator[int]:
    for number in numbers:
        for source in found[number].inputs:
            yield source
            yield from _before(found, {source})
