"""What a log says around its failures: versions of packages and models that it names."""

from dataclasses import dataclass, field

from harness.diagnosis.versions import is_release, versions_in
from harness.diagnosis.widths import catalogue
from harness.shapes import Shape

# Names come at the start of a log, or beside the failure; a log of gigabytes is not searched for them to its end.
_ENOUGH = 64 << 20


@dataclass(slots=True)
class Surroundings:
    """Versions by package and the models named, in the order in which the log names them."""

    versions: dict[str, list[str]] = field(default_factory=dict)
    models: list[Shape] = field(default_factory=list)
    read: int = 0

    def look(self, chunk: bytes) -> None:
        """Look at one more piece of the log."""
        self.read += len(chunk)
        if self.read > _ENOUGH:
            return
        for package, version in versions_in(chunk):
            known = self.versions.setdefault(package, [])
            if version not in known and len(known) < 6:
                known.append(version)
        lowered = chunk.lower().replace(b"_", b"-")
        for shape in catalogue().shapes.values():
            if shape not in self.models and shape.name.encode() in lowered:
                self.models.append(shape)

    def release(self, package: str) -> str:
        """The one release of a package that the log names; empty where it names none, several or a development build."""
        known = self.versions.get(package, [])
        return known[0] if len(known) == 1 and is_release(known[0]) else ""
