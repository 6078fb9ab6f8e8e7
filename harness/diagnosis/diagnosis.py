"""A diagnosis: what one failure of a log is. Plain data with a JSON form."""

from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
FAMILY, UNDECIDED, OTHER = "family", "undecided", "other"


@dataclass(frozen=True, slots=True)
class Width:
    """A size in a message: which models have it, and whether it is the padded one of two; ``rows`` for a number of rows.

    ``counted`` says that it is no width: it is too small for one, and no word of the text calls it one, as it counts experts,
    tokens or heads; or it is a stride, a length, or of a dimension that no name calls one.
    """

    size: int
    padded: bool
    models: tuple[str, ...]
    rows: bool = False
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Relative:
    """A public bug that a failure looks like; ``status`` says whether the releases that the log names have it."""

    id: str
    fixed_by: str
    mechanism: str
    releases: str
    status: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reader makes of a failure: the part of a diagnosis that depends on its kind.

    ``tags`` are what public bugs are matched by; ``rule`` says in words what the two widths are to each other.
    """

    verdict: str
    cause: str
    title: str = ""  # where the kind's own does not say it
    against: tuple[str, ...] = ()
    look: str = ""
    stage: str = ""
    operands: tuple[str, ...] = ()
    widths: tuple[Width, ...] = ()
    rule: str = ""
    alignments: tuple[tuple[int, tuple[str, ...]], ...] = ()
    tags: frozenset[str] = frozenset()
    tries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What one failure is. ``lines`` is where in the log it stands, from 1; ``count`` how often it is there.

    ``verdict`` is family (of padded MoE layers and the contract of their ops), undecided (the text allows it, and does
    not say) or other (not of this family). ``finding`` is the kind of finding by which the harness reports such a failure.
    """

    kind: str
    title: str
    verdict: str
    what: str
    exception: str
    lines: tuple[int, int]
    line: int
    count: int
    writers: tuple[str, ...]
    phase: str
    stage: str
    op: str
    operands: tuple[str, ...]
    tokens: str
    widths: tuple[Width, ...]
    rule: str
    alignments: tuple[tuple[int, tuple[str, ...]], ...]
    cause: str
    against: tuple[str, ...]
    look: str
    user_line: str
    relatives: tuple[Relative, ...]
    tries: tuple[str, ...]
    finding: str

    @property
    def padded(self) -> int | None:
        """The padded one of the widths."""
        return next((width.size for width in self.widths if width.padded), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a log holds. ``versions`` are those it names, by package; ``left_out`` counts failures beyond the limit."""

    source: str
    lines: int
    versions: dict[str, tuple[str, ...]]
    failures: tuple[Diagnosis, ...]
    left_out: int = 0
    format: int = field(default=FORMAT)

    @property
    def exit_code(self) -> int:
        """0 a failure of this family, or one that may be; 1 others only; 2 none."""
        if any(failure.verdict != OTHER for failure in self.failures):
            return 0
        return 1 if self.failures else 2

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes."""
        return asdict(self) | {"exit_code": self.exit_code}
