"""The tiles that the Triton kernel uses: a table of measured ones, and a rule for shapes that are not in it."""

import json
from dataclasses import astuple, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

from kernels.triton.pack import SCALE_WORDS, STEP, WORDS

TABLE = Path(__file__).with_name("tuned.json")
# Tokens an expert from which the kernel for many was timed.
MANY = 48


@cache
def _more_by_triton(halves: int) -> int:
    """Bytes for each row of a weight's tile that Triton takes beside ours, at most: 3.8 has decoded rows there too, on Hopper."""
    try:
        return 192 - 72 * halves if version("triton").startswith("3.8.") else 0
    except PackageNotFoundError:
        return 0


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of one grouped product: ``bn`` rows of the weight by a block's tokens, the columns in ``split`` parts."""

    bn: int
    warps: int
    stages: int
    split: int = 1

    def memory(self, bm: int, halves: int) -> int:
        """The most bytes of shared memory that a program takes: x, words and scales of each stage; ``halves`` is 2 if gated."""
        a_stage = bm * 2 * STEP + self.bn * (2 * WORDS + 4 * SCALE_WORDS) * halves
        return self.stages * a_stage + self.bn * _more_by_triton(halves)

    def within(self, limit: float, bm: int, halves: int) -> Self:
        """These tiles with the most stages, but at least two, whose program takes no more than ``limit`` bytes."""
        fits = next((s for s in range(self.stages, 2, -1) if replace(self, stages=s).memory(bm, halves) <= limit), 2)
        return replace(self, stages=min(fits, self.stages))


@dataclass(frozen=True, slots=True)
class Long:
    """Tiles of the kernel for many tokens an expert: blocks of ``bm`` tokens, an expert's last one up to ``more`` longer.

    A program takes ``parts`` times 128 rows of the weight, and ``stages`` steps of its columns at once.
    """

    bm: int
    parts: int
    stages: int
    more: int


@dataclass(frozen=True, slots=True)
class Config:
    """Both products' tiles. They share ``bm``, the tokens of a block."""

    bm: int
    first: Tiles
    second: Tiles
    long: Long | None = None
    """Tiles of the kernel that takes both products instead, where the device has it"""

    def within(self, limit: float, gated: bool) -> Self:
        """The config for a device whose programs may take ``limit`` bytes of shared memory."""
        first = self.first.within(limit, self.bm, 2 if gated else 1)
        return replace(self, first=first, second=self.second.within(limit, self.bm, 1))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a config is chosen by."""

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
    """The measured config of the next larger token count in the table, or of its largest; the rule's without a table."""
    rows = _table().get(sizes.key)
    if not rows:
        return rule(sizes, tokens)
    near = min((count for count in rows if count >= tokens), default=max(rows))
    return replace(rows[near], long=_long(rows, near, tokens * sizes.top_k / sizes.experts))


def _long(rows: dict[int, Config], near: int, share: float) -> Long | None:
    """The row's own tiles for many tokens an expert, if its share fills their blocks; else those of a smaller count."""
    if share < MANY or not rows[near].long:
        return None
    smaller = (rows[count].long for count in sorted(rows, reverse=True) if count <= near)
    return next((tiles for tiles in smaller if tiles and share >= (tiles.bm if tiles.parts == 1 else 0)), None)


def rule(sizes: Sizes, tokens: int) -> Config:
    """Blocks about as long as an expert's share of the tokens, and wide tiles for long blocks."""
    share = tokens * sizes.top_k / sizes.experts
    bm = 8 if share <= 4 else next((size for size in (16, 32, 64) if share <= size), 128)
    if bm < 64:
        tiles = Tiles(64, 4, 3)
        return Config(bm, tiles, tiles)
    wide = Tiles(128, 8, 3)
    return Config(bm, Tiles(64, 4, 3) if sizes.gated else wide, wide)


def parse(values: list[int]) -> Config:
    """The numbers of a row of the table: bm, then bn, warps, stages and split of each product, then those of ``Long``."""
    long = Long(*values[9:13]) if len(values) > 9 else None
    return Config(values[0], Tiles(*values[1:5]), Tiles(*values[5:9]), long)


def row(config: Config) -> list[int]:
    """The numbers that ``parse`` takes."""
    return [config.bm, *astuple(config.first), *astuple(config.second), *(astuple(config.long) if config.long else ())]


@cache
def _table() -> dict[str, dict[int, Config]]:
    shapes = json.loads(TABLE.read_text()) if TABLE.is_file() else {}
    return {key: {int(count): parse(row) for count, row in rows.items()} for key, rows in shapes.items()}
