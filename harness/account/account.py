"""An account of widths: the steps of one call of a layer, as plain data."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from harness.base.source import SourceLine

FORMAT = 1
INPUT, OUTPUT = "hidden_states", "output"
ROUTED, SHARED, BOTH = "routed", "shared", "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of the layer. Sizes and strides in elements.

    ``branch`` is routed or shared, both where they meet or have not parted. ``inputs`` are numbers of steps. ``ops`` ran in
    it, the last of which made the tensor that ``shape``, ``stride`` and ``dtype`` describe. These are empty where it raised.
    ``rule`` says what its width is, ``meets`` which tensors come together where branches meet. ``fake`` says what the fake
    or the trace gives where that differs, ``oracle`` how its values differ, ``error`` what it raised, and ``findings`` what
    was found at this stage.
    """

    number: int
    stage: str
    branch: str
    inputs: tuple[int, ...]
    ops: tuple[str, ...] = ()
    shape: tuple[int | str, ...] = ()
    stride: tuple[int | str, ...] = ()
    dtype: str = ""
    contiguous: bool = True
    rule: str = ""
    line: SourceLine | None = None
    meets: str = ""
    fake: str = ""
    oracle: str = ""
    error: str = ""
    findings: tuple[str, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether something parts here: an error, a finding, another fake or other values than the oracle's."""
        return bool(not self.dtype or self.error or self.findings or self.fake or self.oracle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account of one case. ``findings`` are those of the modes eager and fake-dynamic, each in one line."""

    subject: str
    case: str
    title: str
    steps: tuple[Step, ...]
    verdict: str
    findings: tuple[str, ...] = ()
    reproduce: str = ""
    torch: str = ""
    format: int = FORMAT

    @property
    def parted(self) -> bool:
        """Whether the layer has a shared expert beside the routed ones, so that two branches meet."""
        return any(step.branch == SHARED for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes; ``from_json`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The account in a dictionary of ``to_json``."""
        steps = tuple(Step(**_tuples(step) | {"line": _line(step["line"])}) for step in data["steps"])
        return cls(**_tuples(data) | {"steps": steps})


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _line(data: dict[str, Any] | None) -> SourceLine | None:
    return None if data is None else SourceLine(**data)
