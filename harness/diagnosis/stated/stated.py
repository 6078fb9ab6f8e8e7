"""What a text states, by which two sizes, the rules that fit them and the commands to try are told."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from harness.diagnosis.known.alignments import Alignment
from harness.diagnosis.stated.padding import fits, kernels_in, multiples_in, padded_in, telling
from harness.diagnosis.stated.settings import Settings, joined, settings_in
from harness.diagnosis.widths import Pair

# Engines by what a text has of them; of transformers a path or an import, as servers print its version too.
_ENGINES = {
    "vllm": re.compile(r"vllm|vLLM"),
    "sglang": re.compile(r"sglang|SGLang|sgl_kernel"),
    "transformers": re.compile(r"(?:^|[/\\\"])transformers[/\\](?:models|integrations)|(?:from|import) transformers\b", re.M),
}


@dataclass(frozen=True, slots=True)
class Stated:
    """``lines`` may state a padding; ``multiples`` are those of widths, ``kernels`` the parts of kernels' names.

    ``engine`` is the one whose code or name the text has, empty for none; ``ranks`` are those of a weight, 0 where it is not said.
    """

    lines: tuple[str, ...] = ()
    multiples: frozenset[int] = frozenset()
    kernels: frozenset[str] = frozenset()
    settings: Settings = field(default_factory=Settings)
    engine: str = ""
    ranks: int = 0

    def pair(self, pair: Pair) -> Pair:
        """A pair as the text has it: with its own words of the padding, its multiple alone and its kernels first."""
        if not pair.alignments:
            return pair
        own = tuple(one for one in pair.alignments if one.multiple in self.multiples) or pair.alignments
        said = padded_in(self.lines, pair.narrow, pair.wide)
        return replace(pair, alignments=tuple(map(self._first, own)), said=said)

    def first(self, rules: Iterable[str]) -> list[str]:
        """Rules in their order, those first that the text names."""
        return sorted(rules, key=lambda rule: -fits(rule, self.kernels))

    def _first(self, one: Alignment) -> Alignment:
        parts = {name: tuple(self.first(getattr(one, name))) for name in ("hidden", "inner", "gated", "plain")}
        return replace(one, **parts)


def stated_in(start: bytes, lines: Iterable[str], whole: str, blocking: bool) -> Stated:
    """What the start of a log and a failure's lines state; ``whole`` is the failure's text in one line."""
    own, log = telling(lines), _of_start(start)
    return Stated(
        lines=(*own, *log.lines),
        multiples=multiples_in(own) | log.multiples,
        kernels=kernels_in(own) | log.kernels,
        settings=replace(joined(settings_in(whole), log.settings), blocking=blocking),
        engine=engine_in(whole) or log.engine,
    )


@lru_cache(maxsize=4)
def _of_start(start: bytes) -> Stated:
    text = start.decode("utf-8", "replace")
    lines = telling(text.split("\n"))
    return Stated(lines, multiples_in(lines), kernels_in(lines), settings_in(text), engine_in(text))


def engine_in(text: str) -> str:
    """The engine whose code or name a text has: vllm, sglang, transformers; empty for none."""
    return next((name for name, words in _ENGINES.items() if words.search(text)), "")
