"""Proof: the result for a layer at every size. Plain data with a JSON form."""

from dataclasses import asdict, dataclass
from typing import Any

PROVEN, FAILS, NOT_PROVABLE = "proven", "fails", "not provable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionText:
    """One region: its sizes as text, their number, what goes wrong there (empty: nothing), its guards, and the real runs made."""

    where: str
    count: int
    ends: str
    guards: tuple[str, ...]
    runs: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The result for one combination of shared expert, latent width, kernel, alignment rule and tensor-parallel size.

    ``sizes`` says which sizes the proof covers, and ``total`` counts them. ``failing`` describes the exact set of failing
    sizes, and ``count`` counts it. ``models`` are the published models in that set; ``own_fails`` says whether the case's own
    sizes are. ``beyond`` says what holds above the largest size. ``one`` says what goes wrong at a size of 1.
    """

    status: str
    sizes: str
    reason: str = ""
    failing: str = ""
    count: int = 0
    total: int = 0
    counterexample: tuple[int, ...] | None = None
    models: tuple[str, ...] = ()
    regions: tuple[RegionText, ...] = ()
    beyond: str = ""
    one: str = ""
    own_fails: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes."""
        return asdict(self)

    @property
    def text(self) -> str:
        """The result in one line."""
        if self.status == NOT_PROVABLE:
            return f"not provable: {self.reason}"
        if self.status == PROVEN:
            return f"0 failing of {self.total:,} ({self.sizes})"
        if not self.count:
            return self.failing
        among = f", among them {_some(self.models)}" if self.models else ""
        return f"{self.failing}: {self.count:,} of {self.total:,}{among}"


def _some(models: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(models) - most} more models" if len(models) > most else ""
    return ", ".join(models[:most]) + more
