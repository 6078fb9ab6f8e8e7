"""What a log says around its failures: versions of packages and models that it names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.diagnosis.known.versions import is_release, versions_in
from harness.diagnosis.owners import catalogue
from harness.matrix.shapes import Shape

# Names come at the start of a log. Later in it only what follows the word version is looked at, and not to the end of
# gigabytes.
_START, _ENOUGH = 2 << 20, 64 << 20
_MOST_RANKS = 500
_KEPT, _WRITER = 1 << 18, 24
# That the variable was set, and not torch's advice to pass it.
_BLOCKING = re.compile(
    rb"(?:[Ww]ith|export|set|under) [`'\"]?CUDA_LAUNCH_BLOCKING=1"
    rb"|CUDA_LAUNCH_BLOCKING=1[`'\"]? (?:python|vllm|torchrun|pytest|was set)"
)
# Over how many ranks weights are split, as commands, configurations and tests name it.
_RANKS = re.compile(
    rb"\b(?:tensor[_-](?:model[_-])?parallel(?:[_-](?:world[_-])?size)?|tp(?:[_-]?(?:world[_-]?)?size)?"
    rb"|(?P<world>world[_ ]?size))"
    rb"['\"]?(?: ?[=:] ?| )['\"]?(?P<ranks>\d{1,3})(?!\w|\.\d)"
)
# The same as a command or a setting has it. ``tp 2`` alone may as well be the number of one rank, as in a writer's name.
_SET = re.compile(rb"size|parallel|[=:]")
# Over how many ranks the batch is split besides, which may share the experts' widths as well; or the experts' widths themselves.
_SPREAD = re.compile(
    rb"\b(?:dp|data[_-]parallel|moe[_-]tp|moe[_-]tensor[_-]parallel)(?:[_-]?(?:world[_-]?)?size)?"
    rb"['\"]?(?: ?[=:] ?| )['\"]?(?P<ranks>\d{1,4})(?!\w|\.\d)"
)
# Sizes that a log names as lengths: of a prompt, a table of positions, a mask or a cache. A name is looked at from its end.
_LENGTHS = re.compile(
    rb"(?:len(?:gth)?s?|prompt_tokens|position_embeddings|n_ctx|max_positions)['\"]?(?:[=:] ?| )(?P<size>\d{3,6})(?![\w.])"
)
_OF_LENGTH = re.compile(
    rb"(?:(?:max|seq|prompt|context|ctx|cache|kv|position|model)_?len(?:gth)?s?|prompt_tokens|max_position_embeddings|n_ctx|max_positions)$"
)
_NAME, _LONGEST_NAME = re.compile(rb"(?<![a-z0-9-])[a-z_.]+$"), 48
_MOST_LENGTHS = 40
_PAD_UNDER_IF = re.compile(rb"\bif [^\n:]{1,80}:[ \t]*\n?[^\n]{0,120}\bpad\(")


@dataclass(slots=True)
class Surroundings:
    """Versions by package and the models named, in the order in which the log names them."""

    versions: dict[str, list[str]] = field(default_factory=dict)
    models: list[Shape] = field(default_factory=list)
    blocking: bool = False  # whether kernels were launched one by one: a fault is then reported where it was launched
    alike: set[str] = field(default_factory=set)  # models of which the log names another version
    ranks: list[tuple[int, int]] = field(default_factory=list)  # over how many it says that weights are split, by line
    called: list[tuple[int, int]] = field(default_factory=list)  # what may be that, or the number of one rank: tp 2
    world: list[tuple[int, int]] = field(default_factory=list)  # how many there are in all
    spread: bool = False  # whether it names more ranks than those, of a batch or of the experts alone
    lengths: dict[str, int] = field(default_factory=dict)  # sizes that it names as lengths, by name
    start: bytes = b""  # of it, for what only few failures ask
    pads_under_if: bool = False  # whether code in it pads where a condition holds
    read: int = 0
    _lines: int = 0

    def look(self, chunk: bytes) -> None:
        """Look at one more piece of the log."""
        started, self.read = self.read < _START, self.read + len(chunk)
        if self.read > _ENOUGH:
            return
        for piece in [chunk] if started else _near(chunk, b"ersion"):
            self._versions(piece)
        if started:
            self.start += chunk[: _KEPT - len(self.start)] if len(self.start) < _KEPT else b""
            self.blocking = self.blocking or (b"_LAUNCH_BLOCKING=1" in chunk and _BLOCKING.search(chunk) is not None)
            lowered = chunk.lower()
            self._ranks(lowered)
            self.spread = self.spread or any(int(found["ranks"]) > 1 for found in _SPREAD.finditer(lowered))
            self._lengths(lowered)
            self.pads_under_if = self.pads_under_if or (b"pad(" in chunk and _PAD_UNDER_IF.search(chunk) is not None)
            self._models(lowered.replace(b"_", b"-"))

    def _versions(self, piece: bytes) -> None:
        for package, version in versions_in(piece):
            known = self.versions.setdefault(package, [])
            if version not in known and len(known) < 6:
                known.append(version)

    def _models(self, lowered: bytes) -> None:
        for shape in catalogue().shapes.values():
            if shape not in self.models and shape.name.encode() in lowered:
                self.models.append(shape)
            if "." in shape.name and shape.name not in self.alike and _stem(shape.name).encode() in lowered:
                self.alike.add(shape.name)

    def _lengths(self, lowered: bytes) -> None:
        """Note the sizes of a piece that are named as lengths."""
        for found in _LENGTHS.finditer(lowered) if len(self.lengths) < _MOST_LENGTHS else ():
            begins = max(0, found.start() - _LONGEST_NAME)
            name = _NAME.search(lowered[begins : found.start("size")].rstrip(b"\"': ="))
            if name and _OF_LENGTH.search(name[0]):
                self.lengths[name[0].decode()] = int(found["size"])

    def _ranks(self, lowered: bytes) -> None:
        """Number the lines of a piece in which ranks are named."""
        place, line = 0, self._lines + 1
        for found in _RANKS.finditer(lowered) if len(self.ranks) < _MOST_RANKS else ():
            line += lowered.count(b"\n", place, found.start())
            place = found.start()
            self._said(lowered, found).append((line, int(found["ranks"])))
        self._lines += lowered.count(b"\n")

    def _said(self, lowered: bytes, found: re.Match[bytes]) -> list[tuple[int, int]]:
        """Where a number belongs: of all ranks, of those of a weight, or of either those or one of them, as in ``[tp 2]``."""
        if found["world"]:
            return self.world
        before = lowered[max(0, found.start() - _WRITER) : found.start()]
        if before.endswith(b"-") or _SET.search(found[0]):
            return self.ranks
        return [] if b"[" in re.split(rb"[\]\n]", before)[-1] else self.called

    def ranks_at(self, line: int) -> int:
        """The number of ranks that is named last at or before a line, else the first one; 0 where the log names none.

        Where it has a setting, ``tp 2`` counts nothing, and neither does it where other lines have ``tp 0`` or ``tp 1``.
        """
        called = self.called if len({ranks for _, ranks in self.called}) == 1 else []
        named = self.ranks or called or self.world
        before = [ranks for place, ranks in named if place <= line]
        return before[-1] if before else next((ranks for _, ranks in named), 0)

    def most_at(self, line: int) -> int:
        """Over how many ranks a weight is split at most, as far as the log says; 0 where it does not."""
        named = self.ranks_at(line)
        return 0 if self.spread or not named else max(named, *(ranks for _, ranks in self.world), 1)

    def release(self, package: str) -> str:
        """The one release of a package that the log names; empty where it names none, several or a development build."""
        known = self.versions.get(package, [])
        return known[0] if len(known) == 1 and is_release(known[0]) else ""


def _stem(name: str) -> str:
    """A model's name without the number behind the point of its version: minimax-m2 of minimax-m2.5."""
    return re.sub(r"\.\d+\b.*", "", name)


def _near(chunk: bytes, word: bytes) -> Iterator[bytes]:
    place = chunk.find(word)
    while place >= 0:
        yield chunk[max(0, place - 40) : place + 60]
        place = chunk.find(word, place + 60)
