"""What a text states, by which two sizes, the rules that fit them and the commands to try are told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from harness.diagnosis.known.alignments import Alignment
from harness.diagnosis.stated.beside import beside_in, said_of
from harness.diagnosis.stated.engines import engine_in
from harness.diagnosis.stated.padding import adapter_ranks_in, fits, kernels_in, multiples_in, padded_in, telling
from harness.diagnosis.stated.settings import Settings, joined, settings_in
from harness.diagnosis.widths import Pair

_LEAST = 256  # a width that a multiple may be taken for


@dataclass(frozen=True, slots=True)
class Stated:
    """``lines`` may state a padding; ``multiples`` are those of widths, with the text's words, ``kernels`` parts of kernels' names.

    ``engine`` is the one whose code or name the text has, empty for none; ``ranks`` are those of a weight, 0 where it is not said.
    ``adapters`` are the numbers that it has as ranks of adapters; ``beside`` are the log's lines that may speak of one width.
    """

    lines: tuple[str, ...] = ()
    multiples: Mapping[int, str] = field(default_factory=dict)
    kernels: frozenset[str] = frozenset()
    settings: Settings = field(default_factory=Settings)
    engine: str = ""
    ranks: int = 0
    adapters: frozenset[int] = frozenset()
    beside: tuple[str, ...] = ()

    def pair(self, pair: Pair) -> Pair:
        """A pair as the text has it: with its own words of the padding, its multiple alone and its kernels first."""
        if not pair.alignments:
            return pair
        own = tuple(one for one in pair.alignments if one.multiple in self.multiples) or pair.alignments
        said = padded_in(self.lines, pair.narrow, pair.wide) or self._multiple(pair)
        beside = said_of(self.beside, pair.narrow, pair.wide)
        return replace(pair, alignments=tuple(map(self._first, own)), said=said, beside=beside)

    def _multiple(self, pair: Pair) -> str:
        """The text's words of the one multiple that makes a width of the other; empty where it may do so by chance."""
        if pair.narrow < _LEAST or pair.extra > 1 / 6 or pair.latent_of:
            return ""
        return next((self.multiples[one.multiple] for one in pair.alignments if one.multiple in self.multiples), "")

    def first(self, rules: Iterable[str]) -> list[str]:
        """Rules in their order, those first that the text names."""
        return sorted(rules, key=lambda rule: -fits(rule, self.kernels))

    def _first(self, one: Alignment) -> Alignment:
        hidden, inner, gated, plain = (
            tuple(self.first(rules)) for rules in (one.hidden, one.inner, one.gated, one.plain)
        )
        return replace(one, hidden=hidden, inner=inner, gated=gated, plain=plain)


def stated_in(start: bytes, lines: Iterable[str], whole: str, blocking: bool) -> Stated:
    """What the start of a log and a failure's lines state; ``whole`` is the failure's text in one line."""
    own, log = telling(lines), _of_start(start)
    return Stated(
        lines=(*own, *log.lines),
        multiples={**log.multiples, **multiples_in(own)},
        kernels=kernels_in(own) | log.kernels,
        settings=replace(joined(settings_in(whole), log.settings), blocking=blocking),
        engine=engine_in(whole) or log.engine,
        adapters=adapter_ranks_in(whole) | log.adapters,
        beside=log.beside,
    )


@lru_cache(maxsize=4)
def _of_start(start: bytes) -> Stated:
    text = start.decode("utf-8", "replace")
    every = text.split("\n")
    lines = telling(every)
    stated = Stated(lines, multiples_in(lines), kernels_in(lines), settings_in(text), engine_in(text))
    return replace(stated, adapters=adapter_ranks_in(text), beside=beside_in(every))
