"""Faults of the machine that end a call like a fault of the layer: no compiler, no memory, no disk. They blame nobody."""

import errno
import re
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

from harness.base.compiler import compiler, has_compiler
from harness.base.errors import BadInput
from harness.base.exception_text import first_line, text_of
from harness.matrix.modes import ModeInfo

_PROGRAM = '#include <vector>\nextern "C" int answer() { return std::vector<int>(3).size(); }\n'
_COMPILER_SECONDS = 120.0
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|bad_alloc|CUDA out of memory|Cannot allocate memory")
# A thread, a child process or a library that the machine has no room for.
_NO_ROOM = re.compile(
    r"can't start new thread|failed to map segment from shared object|Resource temporarily unavailable"
)
_COMPILER_NO_ROOM = re.compile(
    r"virtual memory exhausted|out of memory allocating|No space left on device|Killed signal|File too large|"
    r"File size limit exceeded|Disk quota exceeded|error writing to|terminated with signal"
)
_NO_RESOURCES = {
    errno.ENOSPC,
    errno.EAGAIN,
    errno.EFBIG,
    errno.EDQUOT,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}


class MachineFault(BadInput):
    """The machine could not do what the layer asked for, so nothing can be said of the layer."""


def missing_compiler(mode: ModeInfo, device: str) -> str:
    """Why torch.compile cannot compile for the CPU here; empty where it can, and for modes that compile nothing."""
    if device != "cpu" or "compiled" not in mode.name or has_compiler():
        return ""
    return f"no C++ compiler: torch.compile needs {compiler()!r} here; install it, or name another one by $CXX"


def machine_fault(error: BaseException) -> str:
    """What the machine lacks, where an exception or what caused it says so; else empty."""
    for cause in _chain(error):
        if reason := _lacks(cause):
            return f"{reason}; this says nothing about the layer"
    return ""


def _lacks(error: BaseException) -> str:
    name = type(error).__name__
    if name in ("InvalidCxxCompiler", "CppCompileError") and not compiler_works():
        return f"the C++ compiler {compiler()!r} does not compile a program of two lines"
    if name == "CppCompileError" and (found := _COMPILER_NO_ROOM.search(text_of(error)[:100_000])):
        return f"the C++ compiler had no memory or no disk: {found[0]}"
    if isinstance(error, RuntimeError | OSError | ImportError) and _NO_ROOM.search(text_of(error)[:10_000]):
        return f"the machine: {first_line(error)}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return f"out of memory: {first_line(error)}"
    if isinstance(error, RuntimeError) and _NO_MEMORY.search(text_of(error)[:10_000]):
        return f"out of memory: {first_line(error)}"
    if isinstance(error, OSError) and error.errno in _NO_RESOURCES:
        return f"the machine: {first_line(error)}"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it, each once."""
    met: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in met:
        met.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


@cache
def compiler_works() -> bool:
    """Whether the compiler makes a shared library of a trivial program. Where it does, an error is the program's own."""
    with tempfile.TemporaryDirectory(prefix="harness-compiler-") as folder:
        source = Path(folder, "trivial.cpp")
        source.write_text(_PROGRAM)
        command = [compiler(), "-shared", "-fPIC", str(source), "-o", str(source.with_suffix(".so"))]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_COMPILER_SECONDS, stdin=subprocess.DEVNULL, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0
