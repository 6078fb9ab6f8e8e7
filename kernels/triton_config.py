"""Which tiles the Triton kernel uses: a table that was measured, and a rule for shapes that it does not hold."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("triton_tuned.json")


@dataclass(frozen=True, slots=True)
class Tiles:
    """One grouped product's tiles: ``bn`` rows of the weight by a block's tokens."""

    bn: int
    warps: int
    stages: int


@dataclass(frozen=True, slots=True)
class Config:
    """Both products' tiles. They share ``bm``, the tokens of a block."""

    bm: int
    first: Tiles
    second: Tiles


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a config is chosen by."""

    hidden: int
    intermediate: int
    experts: int
    top_k: int
    gated: bool

    @property
    def key(self) -> str:
        """The name of these sizes in the table."""
        return f"{self.hidden}x{self.intermediate}-e{self.experts}-k{self.top_k}" + ("-gated" if self.gated else "")


def choose(sizes: Sizes, tokens: int) -> Config:
    """The measured config of the nearest token count that is not less, else of the largest; else the rule's."""
    rows = _table().get(sizes.key)
    if not rows:
        return rule(sizes, tokens)
    near = min((count for count in rows if count >= tokens), default=max(rows))
    return rows[near]


def rule(sizes: Sizes, tokens: int) -> Config:
    """Blocks about as long as an expert's share of the tokens; wide tiles once blocks are long."""
    share = tokens * sizes.top_k / sizes.experts
    bm = next((size for size in (16, 32, 64) if share <= size), 128)
    if bm < 64:
        tiles = Tiles(64, 4, 4)
        return Config(bm, tiles, tiles)
    wide = Tiles(128, 8, 3)
    return Config(bm, Tiles(64, 4, 3) if sizes.gated else wide, wide)


def parse(values: list[int]) -> Config:
    """The seven numbers of a row of the table."""
    return Config(values[0], Tiles(*values[1:4]), Tiles(*values[4:7]))


@cache
def _table() -> dict[str, dict[int, Config]]:
    found = json.loads(TABLE.read_text()) if TABLE.is_file() else {}
    return {key: {int(count): parse(row) for count, row in rows.items()} for key, rows in found.items()}
