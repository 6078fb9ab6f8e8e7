"""Functions of Python's own modules, which a layer that replaces one leaves to everything after it."""

import copy
import gc
import importlib
import inspect
import io
import json
import math
import os
import pickle
import random
import signal
import threading
import time
from types import ModuleType
from typing import Any

_MODULES = (time, os, math, random, gc, io, json, copy, pickle, signal, threading, inspect, importlib)
# The harness itself replaces these for a while, and another entry has the hooks.
_NOT = frozenset(("os.putenv", "os._exit", "os.abort", "os.execv", "os.execve", "threading.excepthook"))


class ModuleState:
    """The functions as they are now. ``restore`` puts them back and names those that were replaced."""

    def __init__(self) -> None:
        self._before = {(module, name): value for module in _MODULES for name, value in _functions(module)}

    def restore(self) -> tuple[str, ...]:
        """Put every function back; returns those that were others, such as ``time.time``."""
        replaced = [place for place, value in self._before.items() if getattr(*place, None) is not value]
        for module, name in replaced:
            setattr(module, name, self._before[module, name])
        return tuple(f"the function {module.__name__}.{name}" for module, name in replaced)


def _functions(module: ModuleType) -> list[tuple[str, Any]]:
    every = ((name, value) for name, value in vars(module).items() if callable(value))
    return [(name, value) for name, value in every if f"{module.__name__}.{name}" not in _NOT]
