"""Whether importing the module that defines an op also brings its fake."""

import functools
import inspect
import json
import subprocess
import sys

from harness.audit.context import AuditedOp
from harness.audit.ops import fake_function
from harness.audit.registrations import defined_in, known_ops
from harness.ops.registry import registered

_SECONDS = 120
# Runs in a fresh process, which imports the ops' own module alone, as a user's program may.
_PROGRAM = """
import importlib, json, sys
path, module, names = json.loads(sys.argv[1])
sys.path[:] = path
import torch
importlib.import_module(module)
opdefs, known = getattr(torch._library.custom_ops, "OPDEFS", {}), set(torch._C._dispatch_get_all_op_names())
def has_fake(name):
    kernel = torch._library.simple_registry.singleton.find(name).fake_impl.kernel
    return (opdefs[name]._abstract_fn if name in opdefs else kernel) is not None
print(json.dumps([name for name in names if name in known and not has_fake(name)]))
"""


def fake_not_imported(audited: AuditedOp) -> str:
    """What a program misses that imports only the op's own module; empty if nothing or if that is unknown."""
    fake, name = fake_function(audited.op), audited.op.name()
    home = defined_in(audited.op)
    # What the harness itself defines, with or without its registry, it defines together with its fake.
    if fake is None or not home or name in registered() or home.startswith("harness."):
        return ""
    module = str(getattr(inspect.unwrap(fake), "__module__", ""))
    if module in ("", home, "__main__") or home == "__main__":
        return ""
    if name in _without_fake(home, tuple(sys.path)):
        return (
            f"the fake is registered in {module}, which importing {home}, the op's own module, does not import: "
            "torch.compile finds no fake in a program that imports only that"
        )
    return ""


@functools.cache  # the import takes seconds, and a module may define many ops
def _without_fake(home: str, path: tuple[str, ...]) -> frozenset[str]:
    """The ops known here that have no fake after importing ``home`` alone; none if the import fails or takes too long."""
    text = json.dumps([path, home, known_ops()])
    command = [sys.executable, "-c", _PROGRAM, text]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return frozenset()
    lines = done.stdout.strip().splitlines()
    return frozenset(json.loads(lines[-1])) if done.returncode == 0 and lines else frozenset()
