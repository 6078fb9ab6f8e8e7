"""The cells that ``harness bench`` times, one for each shape and token count. A function of the project makes them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

    from harness.benchmark.timing import Call

# Bounds on the relative error against the fp32 oracle, of the whole output and of its worst column.
WHOLE, COLUMN = 1e-2, 5e-2


@dataclass(frozen=True)
class Cell:
    """One shape at one token count. ``calls`` has, by name, several calls that do the same work, each on its own data.

    The first name is the benchmarked kernel. ``error`` computes its relative errors (whole, worst column). ``read`` is
    the number of weight bytes that the work must read, ``operations`` the number of its floating-point operations.
    """

    shape: str
    tokens: int
    calls: "Mapping[str, Sequence[Call]]"
    error: Callable[[], tuple[float, float]]
    read: float
    operations: float


@dataclass(frozen=True)
class Result:
    """A timed cell, in microseconds. ``missing`` has the reason for each name without a time."""

    shape: str
    tokens: int
    times: dict[str, float]
    floor: float
    whole_error: float
    column_error: float
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """Whether the errors are within bounds; NaN is not."""
        return self.whole_error <= WHOLE and self.column_error <= COLUMN

    def lines(self) -> list[str]:
        """A line for each name without a time, and for a wrong result."""
        lines = [f"{name} was not timed: {why}" for name, why in self.missing.items()]
        if not self.correct:
            errors = f"relative error {self.whole_error:.4f} (bound {WHOLE}), worst column {self.column_error:.4f} ({COLUMN})"
            lines.append(f"wrong, and so not timed: {errors}")
        return [f"{self.shape}, {self.tokens} tokens: {line}" for line in lines]

    def to_json(self) -> dict[str, Any]:
        """The record of the result."""
        return asdict(self) | {"status": "ok" if self.correct else "wrong"}


@dataclass(frozen=True)
class Ceilings:
    """The device's limits: ``bandwidth`` in bytes and ``rate`` in floating-point operations per microsecond."""

    bandwidth: float
    rate: float

    @classmethod
    def measured(cls, device: "torch.device") -> Self:
        """Measure them on a device."""
        from harness.benchmark.timing import copy_bandwidth, matmul_rate

        return cls(copy_bandwidth(device), matmul_rate(device))

    def floor(self, cell: Cell) -> float:
        """A lower bound on the microseconds of a cell."""
        return max(cell.read / self.bandwidth, cell.operations / self.rate)

    def __str__(self) -> str:
        return f"copy {self.bandwidth / 1e6:.2f} TB/s, bf16 product {self.rate / 1e6:.0f} TFLOP/s"


def timed(cell: Cell, ceilings: Ceilings) -> Result:
    """Time a cell. A wrong result is not timed. A name that cannot be run is in ``missing`` with its error."""
    from harness.benchmark.timing import microseconds

    whole, column = cell.error()
    result = Result(cell.shape, cell.tokens, {}, ceilings.floor(cell), whole, column)
    for name, calls in cell.calls.items() if result.correct else ():
        try:
            result.times[name] = microseconds(calls)
        except (RuntimeError, ValueError) as error:
            result.missing[name] = str(error).splitlines()[0]
    return result


Cells = Callable[["torch.device", Sequence[str], Sequence[int]], Iterator[Cell]]
