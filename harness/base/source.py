"""A line of the user's code: which one is running now, and how a message shows it."""

import contextlib
import importlib.util
import linecache
import os
import sys
import traceback
import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self


def current_folder() -> str:
    """The working directory; empty where it was removed."""
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return ""


@cache
def is_library(file: str) -> bool:
    """Whether a file holds no user code: torch, Triton, the harness, Python's standard library, generated code."""
    return file.startswith(_roots()) or _is_standard(file)


@cache
def _roots() -> tuple[str, ...]:
    spec = importlib.util.find_spec("torch")
    torch_root = str(Path(spec.origin).parent) if spec and spec.origin else "<no torch>"
    beside = str(Path(torch_root).with_name("triton")) + os.sep
    return torch_root, beside, str(Path(__file__).parents[1]) + os.sep, "<"


def _is_standard(file: str) -> bool:
    """Whether a file is of the standard library, below whose folder installed packages may lie too."""
    folder, _, rest = file.partition(str(Path(os.__file__).parent) + os.sep)
    return not folder and bool(rest) and not rest.startswith(("site-packages", "dist-packages"))


def _is_in_module(frame: types.FrameType) -> bool:
    """Whether a frame is a method of a module, by what its ``self`` has."""
    return hasattr(frame.f_locals.get("self"), "_forward_pre_hooks")


def _is_of_ranks(frame: types.FrameType) -> bool:
    """Whether a frame is of a package for ranks and their collectives, as engines have one."""
    return "distributed" in Path(frame.f_code.co_filename).parts[:-1]


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
            if not is_library(name):
                return cls.at(name, frame.f_lineno)
            frame = frame.f_back
        return None

    @classmethod
    def of_caller(cls) -> Self | None:
        """The user's line that called for what the innermost one does, where that is in a helper and in no method of a module.

        Such as an engine's group of ranks. The helper's own file, and folders of code for ranks, are left out.
        """
        frames = [
            frame for frame, _ in traceback.walk_stack(sys._getframe(1)) if not is_library(frame.f_code.co_filename)
        ]
        if not frames or _is_in_module(frames[0]):
            return None
        helper = frames[0].f_code.co_filename
        others = (frame for frame in frames if frame.f_code.co_filename != helper and not _is_of_ranks(frame))
        caller = next(others, None)
        return cls.at(caller.f_code.co_filename, caller.f_lineno) if caller else None

    @classmethod
    def at(cls, file: str, number: int) -> Self:
        """The line ``number`` of ``file``, with a relative path where the file is below the current folder."""
        return cls._below(current_folder(), file, number)

    @classmethod
    @cache
    def _below(cls, folder: str, file: str, number: int) -> Self:
        relative = os.path.relpath(file, folder) if folder else ".."
        text = linecache.getline(file, number).strip()
        return cls(file if relative.startswith("..") else relative, number, text)

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"
