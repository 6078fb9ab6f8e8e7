"""Faults of the machine: without a compiler, memory or disk no verdict blames the layer, and a real fault is still one."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fixtures.planting import SHARED
from harness.findings.finding import OK, SKIPPED
from harness.matrix.modes import MODES
from harness.verdict import machine
from harness.verdict.judge import judge
from harness.verdict.machine import compiler_works, machine_fault
from kernels.layer.subject import InTree

CPU = torch.device("cpu")


class CppCompileError(RuntimeError):
    """By the name of torch's own."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    compiler_works.cache_clear()
    yield
    compiler_works.cache_clear()


def test_without_a_compiler_compiled_modes_are_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    for mode in ("compiled", "compiled-dynamic"):
        verdict = judge(InTree(), SHARED, MODES[mode], CPU)
        assert verdict.status == SKIPPED
        assert verdict.reason.startswith("no C++ compiler: torch.compile needs ")
    assert judge(InTree(), SHARED, MODES["eager"], CPU).status == OK


def test_an_error_of_the_compiler_is_the_machines_where_it_compiles_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken-compiler"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert "does not compile a program of two lines" in machine_fault(CppCompileError("C++ compile error"))


def test_an_error_of_a_sound_compiler_is_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "compiler_works", lambda: True)
    assert machine_fault(CppCompileError("C++ compile error")) == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            "out of memory",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
        (ImportError("kernel.so: failed to map segment from shared object"), "failed to map segment"),
        (
            CppCompileError("cc1plus: fatal error: virtual memory exhausted"),
            "the C++ compiler had no memory or no disk",
        ),
        (
            CppCompileError("g++: internal compiler error: File size limit exceeded signal terminated program cc1plus"),
            "no memory or no disk: File size limit exceeded",
        ),
        (ValueError("shapes differ"), ""),
        (OSError(errno.ENOENT, "No such file"), ""),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (7x80 and 128x4)"), ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_an_exception_says_of_the_machine(error: Exception, reason: str) -> None:
    wrapped = RuntimeError("the layer failed")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        fault = machine_fault(one)
        assert reason in fault
        assert bool(fault) == bool(reason)
