"""The settings of torch that the harness pins, as plain data. Imports no torch: a run's record names their hash."""

import hashlib
import json
from typing import Any

DYNAMO = {
    "recompile_limit": 8,
    "suppress_errors": False,
    "automatic_dynamic_shapes": False,
    "automatic_dynamic_local_pgo": False,
    # With fullgraph, which every compile of the harness has, the limit is an error all the same. What an owner compiled without it
    # runs in eager from there on, as it does in use.
    "fail_on_recompile_limit_hit": False,
}
INDUCTOR = {
    "size_asserts": True,
    "alignment_asserts": True,
    "scalar_asserts": True,
    "fx_graph_cache": True,
    "fx_graph_remote_cache": False,
    "compile_threads": 1,
    "triton.cudagraphs": False,
}
# By default torch only warns of an undeclared alias, and raises where CI was set when torch read its settings, which depends
# on the order of imports.
FUNCTORCH = {"check_custom_op_aliasing": True, "error_on_custom_op_aliasing": True}
CONFIGS: dict[str, dict[str, Any]] = {"_dynamo": DYNAMO, "_functorch": FUNCTORCH, "_inductor": INDUCTOR}
ENVIRONMENT = {"CI": "1"}


def settings_hash() -> str:
    """A hash of every pinned setting, 16 hexadecimal digits. Two runs with different ones may differ for that reason."""
    text = json.dumps([CONFIGS, ENVIRONMENT], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
