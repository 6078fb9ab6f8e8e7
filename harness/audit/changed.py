"""Changed files as modules whose ops are audited: what a pre-commit hook knows is the files."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.base.errors import BadInput

# A module that registers an op says one of these. One that says none is not imported: it may be a script.
_REGISTERS = re.compile(r"\bLibrary\(|\bcustom_op\b|\btriton_op\b|\bregister_op\b|\bload_inline\b|\bload_library\b")


def registering(files: Sequence[str]) -> list[Path]:
    """The Python files among these whose text registers an op. Raises BadInput if one cannot be read, or is no file."""
    for path in map(Path, files):
        if path.exists() and not path.is_file():
            what = (
                "a folder; give the Python files in it" if path.is_dir() else "no regular file; expected Python files"
            )
            raise BadInput(f"--files: {path} is {what}")
    return [path for path in map(Path, files) if path.suffix == ".py" and _REGISTERS.search(_text(path))]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise BadInput(f"--files: cannot read {path}: {error.strerror}; expected Python files") from None


def module_names(files: Iterable[Path], path: Sequence[str]) -> list[tuple[str, str]]:
    """(folder for the import path, dotted name) of each file. ``path`` are the folders that modules are imported from.

    A file of a package, one with ``__init__.py``, is named from the first folder that has none. Any other is named from
    the nearest folder of ``path``: a package may do without ``__init__.py``.
    """
    return [_module(file.resolve(), [Path(folder).resolve() for folder in path]) for file in files]


def _module(file: Path, path: list[Path]) -> tuple[str, str]:
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    if root == file.parent:
        around = [base / part for base in path for part in ("src", "") if file.is_relative_to(base / part)]
        root = around[0] if around else root
    names = file.relative_to(root).with_suffix("").parts
    names = names[:-1] if names[-1] == "__init__" and len(names) > 1 else names
    if not all(name.isidentifier() for name in names):
        raise BadInput(f"--files: {file.name} is no module that can be imported; expected a name such as ops.py")
    return str(root), ".".join(names)
