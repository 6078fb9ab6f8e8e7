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
# That the variable was set, and not torch's advice to pass it.
_BLOCKING = re.compile(
    rb"(?:[Ww]ith|export|set|under) [`'\"]?CUDA_LAUNCH_BLOCKING=1"
    rb"|CUDA_LAUNCH_BLOCKING=1[`'\"]? (?:python|vllm|torchrun|pytest|was set)"
)


@dataclass(slots=True)
class Surroundings:
    """Versions by package and the models named, in the order in which the log names them."""

    versions: dict[str, list[str]] = field(default_factory=dict)
    models: list[Shape] = field(default_factory=list)
    blocking: bool = False  # whether kernels were launched one by one: a fault is then reported where it was launched
    read: int = 0

    def look(self, chunk: bytes) -> None:
        """Look at one more piece of the log."""
        started, self.read = self.read < _START, self.read + len(chunk)
        if self.read > _ENOUGH:
            return
        for piece in [chunk] if started else _near(chunk, b"ersion"):
            self._versions(piece)
        if started:
            self.blocking = self.blocking or _BLOCKING.search(chunk) is not None
            self._models(chunk.lower().replace(b"_", b"-"))

    def _versions(self, piece: bytes) -> None:
        for package, version in versions_in(piece):
            known = self.versions.setdefault(package, [])
            if version not in known and len(known) < 6:
                known.append(version)

    def _models(self, lowered: bytes) -> None:
        for shape in catalogue().shapes.values():
            if shape not in self.models and shape.name.encode() in lowered:
                self.models.append(shape)

    def release(self, package: str) -> str:
        """The one release of a package that the log names; empty where it names none, several or a development build."""
        known = self.versions.get(package, [])
        return known[0] if len(known) == 1 and is_release(known[0]) else ""


def _near(chunk: bytes, word: bytes) -> Iterator[bytes]:
    place = chunk.find(word)
    while place >= 0:
        yield chunk[max(0, place - 40) : place + 60]
        place = chunk.find(word, place + 60)
