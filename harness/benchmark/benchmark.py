"""What ``harness bench`` times: cells that a project's function gives, one for each shape and token count."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

    from harness.benchmark.timing import Call

# Bounds on the relative error against the fp32 oracle: of the whole output, and of its worst column.
WHOLE, COLUMN = 1e-2, 5e-2


@dataclass(frozen=True)
class Cell:
    """One shape at one token count. ``calls`` holds, by name, the same work several times, each on data of its own.

    The first name is what is benched. ``error`` gives its relative errors (whole, worst column). ``read`` is the bytes
    of weights that the work must read, ``operations`` its floating-point operations.
    """

    shape: str
    tokens: int
    calls: "Mapping[str, Sequence[Call]]"
    error: Callable[[], tuple[float, float]]
    read: float
    operations: float


@dataclass(frozen=True)
class Result:
    """A timed cell, in microseconds. ``missing`` says why a name has no time."""

    shape: str
    tokens: int
    times: dict[str, float]
    floor: float
    whole_error: float
    column_error: float
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether the errors are within bounds; NaN never is."""
        return self.whole_error <= WHOLE and self.column_error <= COLUMN

    def words(self) -> list[str]:
        """A line for each name that has no time, and for a wrong result."""
        told = [f"{name} was not timed: {why}" for name, why in self.missing.items()]
        if not self.right:
            errors = f"relative error {self.whole_error:.4f} (bound {WHOLE}), worst column {self.column_error:.4f} ({COLUMN})"
            told.append(f"wrong, and so not timed: {errors}")
        return [f"{self.shape}, {self.tokens} tokens: {line}" for line in told]

    def to_json(self) -> dict[str, Any]:
        """The record of the result."""
        return asdict(self) | {"status": "ok" if self.right else "wrong"}


@dataclass(frozen=True)
class Ceilings:
    """What nothing runs above: ``bandwidth`` in bytes, ``rate`` in floating-point operations per microsecond."""

    bandwidth: float
    rate: float

    @classmethod
    def measured(cls, device: "torch.device") -> Self:
        """Those of a device."""
        from harness.benchmark.timing import copy_bandwidth, matmul_rate

        return cls(copy_bandwidth(device), matmul_rate(device))

    def floor(self, cell: Cell) -> float:
        """The microseconds that a cell takes at least."""
        return max(cell.read / self.bandwidth, cell.operations / self.rate)

    def __str__(self) -> str:
        return f"copy {self.bandwidth / 1e6:.2f} TB/s, bf16 product {self.rate / 1e6:.0f} TFLOP/s"


def timed(cell: Cell, ceilings: Ceilings) -> Result:
    """The cell's times; of what is wrong none. A name that cannot be run is told by its error."""
    from harness.benchmark.timing import microseconds

    whole, column = cell.error()
    result = Result(cell.shape, cell.tokens, {}, ceilings.floor(cell), whole, column)
    for name, calls in cell.calls.items() if result.right else ():
        try:
            result.times[name] = microseconds(calls)
        except (RuntimeError, ValueError) as error:
            result.missing[name] = str(error).splitlines()[0]
    return result


Cells = Callable[["torch.device", Sequence[str], Sequence[int]], Iterator[Cell]]
