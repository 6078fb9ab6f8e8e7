"""A line of the user's code: which one is running now, and how a message shows it."""

import importlib.util
import linecache
import os
import sys
import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self


@cache
def library_roots() -> tuple[str, ...]:
    """Prefixes of files that hold no user code: torch, Triton, the harness, parts of the standard library, generated code."""
    spec = importlib.util.find_spec("torch")
    torch_root = str(Path(spec.origin).parent) if spec and spec.origin else "<no torch>"
    standard = Path(os.__file__).parent
    modules = [str(standard / name) for name in ("contextlib", "threading", "functools")]
    return (
        torch_root,
        str(Path(torch_root).with_name("triton")) + os.sep,
        str(Path(__file__).parents[1]) + os.sep,
        *modules,
        "<",
    )


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line of the user's code."""

    file: str
    number: int
    text: str

    @classmethod
    def here(cls) -> Self | None:
        """The innermost line on the stack that is user code; None where there is none."""
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if not name.startswith(library_roots()):
                return cls.at(name, frame.f_lineno)
            frame = frame.f_back
        return None

    @classmethod
    def at(cls, file: str, number: int) -> Self:
        """The line ``number`` of ``file``, with a relative path where the file is below the current folder."""
        return cls._below(os.getcwd(), file, number)

    @classmethod
    @cache
    def _below(cls, folder: str, file: str, number: int) -> Self:
        relative = os.path.relpath(file, folder)
        text = linecache.getline(file, number).strip()
        return cls(file if relative.startswith("..") else relative, number, text)

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"
