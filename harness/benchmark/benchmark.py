"""The cells that ``harness bench`` times, one for each shape and token count. A function of the project makes them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

    from harness.benchmark.timing import Call

# Bounds on the relative error against the fp32 oracle, of the whole output and of its worst column.
WHOLE, COLUMN = 1e-2, 5e-2
# Replays of a graph, of which the median counts; and where peers are timed beside.
REPLAYS, REPLAYS_WITH_PEERS = 7, 51


class NotInstalled(Exception):
    """A peer that this machine lacks. Its text says how to install it."""


@dataclass(frozen=True)
class Peer:
    """One way in which another kernel does a cell's work, its ``form``. ``error`` computes its relative errors.

    ``bounds`` are those of the whole output and of the worst column.
    """

    form: str
    calls: "Sequence[Call]"
    error: Callable[[], tuple[float, float]]
    bounds: tuple[float, float] = (WHOLE, COLUMN)


@dataclass(frozen=True)
class Apart:
    """Another kernel that computes something else, told by ``arithmetic``: it is shown, and nothing is compared with it."""

    arithmetic: str
    forms: Callable[[], "Sequence[Peer]"]


@dataclass(frozen=True)
class Cell:
    """One shape at one token count. ``calls`` has, by name, several calls that do the same work, each on its own data.

    The first name is the benchmarked kernel. ``error`` computes its relative errors (whole, worst column). ``read`` is
    the number of weight bytes that the work must read, ``operations`` the number of its floating-point operations.
    ``peers`` has, by name, a function that makes the forms of another kernel, the fastest of which counts. It raises
    NotInstalled. ``apart`` has kernels of other arithmetic.
    """

    shape: str
    tokens: int
    calls: "Mapping[str, Sequence[Call]]"
    error: Callable[[], tuple[float, float]]
    read: float
    operations: float
    peers: "Mapping[str, Callable[[], Sequence[Peer]]]" = field(default_factory=dict)
    apart: Mapping[str, Apart] = field(default_factory=dict)

    def alone(self) -> Self:
        """The same without other kernels."""
        return replace(self, peers={}, apart={})

    @property
    def others(self) -> "dict[str, Callable[[], Sequence[Peer]]]":
        """The functions of all other kernels."""
        return {**self.peers, **{name: one.forms for name, one in self.apart.items()}}


@dataclass(frozen=True)
class Result:
    """A timed cell, in microseconds. ``missing`` has the reason for each name without a time.

    ``forms``, ``errors`` and ``column_errors`` have a peer's fastest form, its relative error and that of its worst column.
    ``apart`` has the arithmetic of each kernel that computes something else.
    """

    shape: str
    tokens: int
    times: dict[str, float]
    floor: float
    whole_error: float
    column_error: float
    missing: dict[str, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    column_errors: dict[str, float] = field(default_factory=dict)
    apart: dict[str, str] = field(default_factory=dict)

    @property
    def best_peer(self) -> str:
        """The fastest of the peers that compute the same; empty where none was timed."""
        same = [name for name in self.forms if name not in self.apart]
        return min(same, key=self.times.__getitem__, default="")

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


def timed(cell: Cell, ceilings: Ceilings, replays: int = REPLAYS) -> Result:
    """Time a cell. A wrong result is not timed. A name that cannot be run is in ``missing`` with its error.

    Everything is replayed in turn, so that a card that slows down as it warms slows all of them alike.
    """
    from harness.benchmark.timing import in_turn

    whole, column = cell.error()
    apart = {name: one.arithmetic for name, one in cell.apart.items()}
    result = Result(cell.shape, cell.tokens, {}, ceilings.floor(cell), whole, column, apart=apart)
    if not result.correct:
        return result
    forms = dict(_forms(cell, result.missing))
    errors = {key: error for key, peer in forms.items() if (error := _right(key[0], peer, result.missing)) is not None}
    named = {(name, ""): calls for name, calls in cell.calls.items()} | {key: forms[key].calls for key in errors}
    times, failures = in_turn(named, replays)
    for (name, form), time in times.items():
        if time < result.times.get(name, math.inf):
            result.times[name] = time
            result.forms.update({name: form} if form else {})
            if form:
                result.errors[name], result.column_errors[name] = errors[name, form]
    result.missing.update({name: why for (name, _), why in failures.items()})
    for name in result.times:  # one of its forms ran and was right
        result.missing.pop(name, None)
    return result


def _forms(cell: Cell, missing: dict[str, str]) -> Iterator[tuple[tuple[str, str], Peer]]:
    """Each form of each peer, by the names of both."""
    for name, make in cell.others.items():
        try:
            yield from (((name, peer.form), peer) for peer in make())
        except NotInstalled as error:
            missing[name] = f"not installed: {error}"
        except Exception as error:  # a peer's own fault, whatever it is, must not end the run
            missing[name] = _line(error)


def _right(name: str, peer: Peer, missing: dict[str, str]) -> tuple[float, float] | None:
    """A peer's relative error and that of its worst column; None where it is wrong or cannot run."""
    try:
        whole, column = peer.error()
    except Exception as error:
        missing[name] = _line(error)
        return None
    bound, column_bound = peer.bounds
    if whole <= bound and column <= column_bound:
        return whole, column
    missing[name] = (
        f"wrong: relative error {whole:.4f} (bound {bound}), worst column {column:.4f} ({column_bound}), {peer.form}"
    )
    return None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


Cells = Callable[["torch.device", Sequence[str], Sequence[int]], Iterator[Cell]]
