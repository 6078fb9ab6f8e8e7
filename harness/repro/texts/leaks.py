"""Scenarios of what many calls leave: memory that is never freed, and containers that grow with each call."""

import re
import sys
from dataclasses import replace

from harness.repro.texts.scenario import Scenario

_MEMORY = """\
class Memory(TorchDispatchMode):  # weak references to all memory that ops are given and return
    seen = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        memory = [value.untyped_storage() for value in tree_leaves((args, out)) if isinstance(value, torch.Tensor)]
        self.seen.update({one._cdata: StorageWeakRef(one) for one in memory})
        return out


def alive(calls):
    with Memory() as memory:
        for number in range(calls):
            layer(*inputs(7, number % 16))
    gc.collect()
    return sum(not reference.expired() for reference in memory.seen.values())


assert -alive(16) + alive(52) < 30, "$kind: tensors of 36 calls are still in memory"  # 16 calls: all inputs once"""
_COUNTED = """\
for number in range(4):  # these may fill caches
    layer(*inputs(7, number))
before = $count
for number in range(40):
    layer(*inputs(7, number % 16))
assert $count - before < 30, f"$kind: {$count - before} more after 40 calls\""""
# How a script counts what the finding says there is more of.
_COUNTS = {"threads that run": "threading.active_count()", "open files": "len(os.listdir('/proc/self/fd'))"}
_ENTRIES = """\
def entries():
    held = $container
    inside = held.values() if isinstance(held, dict) else held
    return len(held) + sum(len(one) for one in tuple(inside) if isinstance(one, (list, dict, set, deque)))


for number in range(4):  # these may fill caches
    layer(*inputs(7, number))
before = entries()
for number in range(40):
    layer(*inputs(7, number % 16))
assert entries() - before < 30, f"$kind: {entries() - before} entries more after 40 calls\""""
_EACH_SIZE = """\
class Memory(TorchDispatchMode):  # weak references to all large memory that ops return
    seen = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for memory in (value.untyped_storage() for value in tree_leaves(out) if isinstance(value, torch.Tensor)):
            if memory.nbytes() >= tokens * $width:
                self.seen[memory._cdata] = StorageWeakRef(memory)
        return out


with Memory() as memory:
    for tokens in range(41, 265):
        layer(*inputs(tokens, 0))
gc.collect()
alive = sum(not reference.expired() for reference in memory.seen.values())
assert alive < 168, f"$kind: memory of {alive} batch sizes is still there\""""
_GREW = re.compile(r"after \d+ calls (?P<owner>.+)\.(?P<name>\w+) has \d+ entries more")
_OF_MANY = re.compile(r"(?:those|calls) of (\d+) tokens")
_LAYER = "the layer"


def leak(what: str) -> Scenario:
    """The scenario of a finding by its words: a container that they name, or memory that ops were given or returned."""
    grew = _GREW.match(what)
    counted = next((count for words, count in _COUNTS.items() if what.endswith(f" more {words}")), "")
    if counted:
        return Scenario(_COUNTED.replace("$count", counted), ("import os", "import threading"), compares=False)
    many = _OF_MANY.search(what)
    batch = f"inputs({many[1] if many else 7},"
    if grew is None:
        return replace(_OF_MEMORY, text=_MEMORY.replace("inputs(7,", batch))
    container = f"{_owner(grew['owner'])}.{grew['name']}"
    text = _ENTRIES.replace("$container", container).replace("inputs(7,", batch)
    return Scenario(text, ("from collections import deque", "import sys"), compares=False)


def _owner(words: str) -> str:
    """An expression of what a container belongs to: the layer, a submodule, a module of Python, or a class of the layer."""
    if words == _LAYER:
        return "layer"
    if words.startswith(f"{_LAYER}."):
        return f'layer.get_submodule("{words.removeprefix(_LAYER)[1:]}")'
    if words in sys.modules:
        return f'sys.modules["{words}"]'
    return f'next(kind for kind in type(layer).__mro__ if kind.__qualname__ == "{words}")'


_IMPORTS = (
    "import gc",
    "from torch.multiprocessing.reductions import StorageWeakRef",
    "from torch.utils._python_dispatch import TorchDispatchMode",
    "from torch.utils._pytree import tree_leaves",
)
_OF_MEMORY = Scenario(_MEMORY, _IMPORTS, compares=False)
SCENARIOS = {"memory=each-size": Scenario(_EACH_SIZE, _IMPORTS, compares=False)}
