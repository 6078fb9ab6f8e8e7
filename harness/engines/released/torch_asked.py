"""Which torch a release asks for, by its own metadata, where another one runs it."""

import re
from importlib.metadata import version
from pathlib import Path

# Of a source archive, of a wheel, and of a checkout. The first that pins torch says it.
KEPT = ("PKG-INFO", "METADATA", "pyproject.toml")
_FILES = ("PKG-INFO", "METADATA", "requirements/cuda.txt", "pyproject.toml")
_PIN = re.compile(r"^(?:Requires-Dist:)?[\s\"']*torch\s*==\s*(\d+(?:\.\d+)*)(?![\w.*])(?!.*\bextra\b)", re.MULTILINE)


def torch_asked(place: Path) -> str:
    """The version of torch to which a source tree pins itself; empty where none of its files does so."""
    for name in _FILES:
        try:
            text = (place / name).read_text("utf-8", errors="replace")
        except OSError:
            continue
        if pin := _PIN.search(text):
            return pin[1]
    return ""


def torch_note(name: str, place: Path) -> str:
    """One line where the tree asks for another torch than the installed one; empty where it does not."""
    asked, here = torch_asked(place), version("torch").partition("+")[0]
    if not asked or asked == here:
        return ""
    return f"{name} asks for torch {asked}, and is run here with torch {here}: a finding may come of that alone"
