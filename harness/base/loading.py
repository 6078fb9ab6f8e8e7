"""Importing what a user named. Imports nothing heavy."""

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from harness.base.errors import BadInput


def imported(what: str, module: str, path: Sequence[str] = ()) -> ModuleType:
    """The module, with ``path`` in front of the import path. Raises BadInput, which says ``what`` does not import."""
    sys.path[:0] = [folder for folder in path if folder not in sys.path]
    try:
        return importlib.import_module(module)
    except BadInput:
        raise
    except Exception as error:  # a user's module may raise anything at import
        raise BadInput(f"{what} does not import: {type(error).__name__}: {error}") from error
