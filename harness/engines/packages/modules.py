"""The modules of a distribution: those at its top, and those whose source registers ops of torch."""

from collections.abc import Iterable
from pathlib import Path

from harness.audit.changed import registering

_NOT_FOR_USERS = {
    "test",
    "tests",
    "testing",
    "benchmark",
    "benchmarks",
    "example",
    "examples",
    "docs",
    "setup",
    "conftest",
}


def top_modules(files: Iterable[Path]) -> tuple[str, ...]:
    """The modules that a user imports first: of ``a/b/c.py`` and ``a/b/d.py`` ``a``, or ``a.b`` where ``a`` holds nothing itself."""
    python = [file for file in files if file.suffix == ".py" and not _NOT_FOR_USERS & {file.parts[0], file.stem}]
    heads = dict.fromkeys(file.parts[0].removesuffix(".py") for file in python)
    return tuple(_first(head, python) for head in heads if head.isidentifier())


def _first(head: str, files: list[Path]) -> str:
    """The module below a head that has code: a namespace package has none before the folder of its own ``__init__.py``."""
    inside = [file for file in files if file.parts[0] == head and len(file.parts) > 1]
    starts = sorted((len(file.parts), ".".join(file.parts[:-1])) for file in inside if file.name == "__init__.py")
    return starts[0][1] if starts else head


def registering_modules(files: Iterable[Path], root: Path) -> tuple[str, ...]:
    """The modules whose source registers ops, without tests, benchmarks and examples."""
    python = [file for file in files if file.suffix == ".py" and not file.is_absolute() and ".." not in file.parts]
    wanted = [file for file in python if not _aside(file) and (root / file).is_file()]
    found = {path.relative_to(root) for path in registering([str(root / file) for file in wanted])}
    return tuple(name for file in wanted if file in found and (name := _name(file)))


def _aside(file: Path) -> bool:
    words = {part.removesuffix(".py") for part in file.parts}
    return bool(words & _NOT_FOR_USERS) or any(word.startswith("test_") or word.endswith("_test") for word in words)


def _name(file: Path) -> str:
    """The dotted name of a file; empty where it has none."""
    parts = file.with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
    return ".".join(parts) if all(part.isidentifier() for part in parts) and parts[-1] != "__main__" else ""
