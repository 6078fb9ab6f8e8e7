"""What torch's own tools said in an earlier run of the same code.

They take a quarter of a self-test. Of the same layer, case, harness and torch on the same kind of processor they say the same
again. A result is therefore kept in the cache folder, below a hash of all that, and ``--whole`` asks the tools anew.
"""

import hashlib
import json
import os
import platform
import shutil
import site
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from harness.base.cache import cache_root
from harness.selftest.tool_names import KEPT

# Folders of as many states of the code are kept. One holds a megabyte at most.
_STATES = 40


class Kept:
    """The results of one state of the code. Make it when the corpus is loaded: the modules that are loaded then are hashed."""

    def __init__(self) -> None:
        self.folder = cache_root() / "torch-tools" / _state()

    def results(self, entry: str, case: str, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Those of an earlier run, marked as KEPT, else those of ``look``. ``case`` is the case with all its sizes."""
        name = hashlib.sha256(f"{entry}\n{case}".encode()).hexdigest()[:24]
        file = self.folder / f"{name}.json"
        with suppress(OSError, ValueError):
            known: dict[str, Any] = json.loads(file.read_text())
            return known | {KEPT: True}
        found = look()
        with suppress(OSError):  # it is asked again then
            self._keep(file, json.dumps(found))
        return found

    def _keep(self, file: Path, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as fresh:
            fresh.write(text)
        os.replace(fresh.name, file)  # another worker never sees half a file
        states = sorted(self.folder.parent.iterdir(), key=lambda state: state.stat().st_mtime)
        for old in states[:-_STATES]:
            shutil.rmtree(old, ignore_errors=True)


def _state() -> str:
    """A hash of the sources of the harness and of the user's own modules, and of torch, Python and the kind of processor."""
    digest = hashlib.sha256(repr(_machine()).encode())
    for name, file in sorted(_own_files().items()):
        digest.update(f"\n{name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _machine() -> tuple[object, ...]:
    capability = torch.backends.cpu.get_cpu_capability()
    return torch.__version__, torch.version.git_version, sys.version, platform.machine(), capability


def _own_files() -> dict[str, Path]:
    """Python files of loaded modules that no installation manages, and those of the harness."""
    managed = [
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
    files = {
        name: Path(file)
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and os.path.isabs(file) and os.path.isfile(file)
    }
    return {
        name: file
        for name, file in files.items()
        if _is_of(name, "harness") or not (_is_of(name, "torch") or any(map(file.is_relative_to, managed)))
    }


def _is_of(name: str, package: str) -> bool:
    """Whether a module is of a package. Inductor puts what it compiles below torch, in files of the cache."""
    return name.partition(".")[0] == package
