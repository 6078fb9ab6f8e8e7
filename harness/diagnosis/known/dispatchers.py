"""What dispatchers of tokens to experts round a hidden size up to, read from package data: the next of a list, or a multiple."""

import re
from dataclasses import dataclass
from functools import cache

from harness.diagnosis.known.kinds import data


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """A dispatcher: the hidden sizes that it takes, in elements, else the multiple that it rounds to; ``words`` show it in a log."""

    name: str
    sizes: tuple[int, ...]
    multiple: int
    words: re.Pattern[bytes]

    def rounded(self, size: int) -> int:
        """The size that a hidden size becomes; 0 where a list has none that is large enough, or less than twice as large."""
        if self.multiple:
            return -(-size // self.multiple) * self.multiple
        found = next((one for one in self.sizes if one >= size), 0)
        return found if found < 2 * size else 0


@cache
def dispatchers() -> tuple[Dispatcher, ...]:
    """Every dispatcher of the data file."""
    return tuple(
        Dispatcher(one["name"], tuple(one.get("sizes", ())), one.get("multiple", 0), re.compile(one["words"].encode()))
        for one in data("sizes.toml")["dispatcher"]
    )


def dispatchers_in(lowered: bytes) -> tuple[str, ...]:
    """The names of the dispatchers that a piece of a log in small letters names."""
    if b"deep" not in lowered and b"nixl" not in lowered:
        return ()
    return tuple(one.name for one in dispatchers() if one.words.search(lowered))
