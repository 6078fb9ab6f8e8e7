"""The C++ compiler that torch.compile calls for the CPU, by torch's own rule. Imports no torch."""

import os
import shutil
import sys


def compiler() -> str:
    """Its name or path."""
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")


def has_compiler() -> bool:
    """Whether there is such a program on this machine."""
    return shutil.which(compiler()) is not None
