"""Importing a module that a user named, and many modules at once. Imports nothing heavy."""

import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from harness.base.errors import BadInput
from harness.base.exception_text import is_ctrl_c, raised_text
from harness.base.exits import exits_raise
from harness.base.project import in_tree


def import_named(what: str, module: str, path: Sequence[str] = ()) -> ModuleType:
    """Import ``module`` with ``path`` in ``sys.path``. Raises BadInput, which names ``what``, on any error."""
    for folder in path:
        _add(folder)
    try:
        with exits_raise():
            return importlib.import_module(module)
    except BadInput:
        raise
    except (
        BaseException
    ) as error:  # a user's module may raise anything at import; sys.exit(0) would end a run as a success
        if is_ctrl_c(error):
            raise
        raise BadInput(f"{what} does not import: {raised_text(error)}") from error


def _add(folder: str) -> None:
    """Add a folder to the import path, at the end, and the harness's own in front."""
    # A user's folder may have a file with the name of an installed package; the in-tree layer's package has such a name.
    if folder not in sys.path:
        sys.path.insert(0 if Path(folder) == in_tree() else len(sys.path), folder)


@contextmanager
def without_collections() -> Iterator[None]:
    """Python's garbage collector is off. An engine's import makes a million objects, and each would be scanned many times."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
