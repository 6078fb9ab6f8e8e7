"""Whether importing the module that defines an op also brings its fake."""

import inspect
import json
import subprocess
import sys

from harness.audit.context import AuditedOp
from harness.audit.ops import fake_function
from harness.audit.registrations import defined_in
from harness.ops.registry import registered

_SECONDS = 120
# Runs in a fresh process, which imports the op's own module alone, as a user's program may.
_PROGRAM = """
import importlib, json, sys
path, module, name = json.loads(sys.argv[1])
sys.path[:] = path
import torch
importlib.import_module(module)
made = getattr(torch._library.custom_ops, "OPDEFS", {}).get(name)
kernel = torch._library.simple_registry.singleton.find(name).fake_impl.kernel
known = name in torch._C._dispatch_get_all_op_names()
present = made._abstract_fn if made is not None else kernel
print("FAKE" if present is not None or not known else "NO FAKE")
"""


def fake_not_imported(audited: AuditedOp) -> str:
    """What a program misses that imports only the op's own module; empty if nothing or if that is unknown."""
    fake, name = fake_function(audited.op), audited.op.name()
    home = defined_in(audited.op)
    if fake is None or not home or name in registered():
        return ""
    module = str(getattr(inspect.unwrap(fake), "__module__", ""))
    if module in ("", home, "__main__") or home == "__main__":
        return ""
    text = json.dumps([sys.path, home, name])
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, text],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return ""
    if done.stdout.strip().endswith("NO FAKE"):
        return (
            f"the fake is registered in {module}, which importing {home}, the op's own module, does not import: "
            "torch.compile finds no fake in a program that imports only that"
        )
    return ""
