"""torch's own check that a CUDA graph's inputs are still alive when it is replayed, from torch 2.13 on.

``torch.cuda.graph(check_input_liveness=True)`` notes the storage of each tensor that an op under capture takes from outside of
the graph. A replay raises if one of them was freed since. It reads no value, and sees no kernel that is launched without torch.
"""

import gc
import inspect
from typing import Any

import torch

from harness.base.exception_text import first_line
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.selftest.tool_result import ToolResult

# What torch's error begins with, in 2.13.
DEAD = "CUDA graph replay detected"


def unavailable(device: torch.device) -> str:
    """Why the check cannot be run; empty where it can."""
    if device.type != "cuda":
        return "it needs a CUDA device"
    if "check_input_liveness" not in inspect.signature(torch.cuda.graph.__init__).parameters:
        return f"torch {torch.__version__} has no torch.cuda.graph(check_input_liveness=True), and torch 2.13 has"
    return ""


def liveness(rig: Rig) -> ToolResult:
    """Capture one call of a fresh layer and replay it. An error that is not the check's own is no result of the check."""
    if why := unavailable(rig.device):
        return ToolResult(False, not_run=why)
    layer, inputs = rig.start().layer, rig.inputs(rig.case.tokens, 0)
    graph = torch.cuda.CUDAGraph()
    try:
        _capture(graph, layer, inputs)
        gc.collect()  # a tensor in a cycle is freed at some time between capture and replay
        graph.replay()
        torch.cuda.synchronize()
    except LAYER_ERRORS as error:
        line = f"{type(error).__name__}: {first_line(error)}"
        return ToolResult(True, line) if DEAD in str(error) else ToolResult(False, not_run=f"the capture raised {line}")
    finally:
        graph.reset()  # the check watches all ops of the process until then if the capture did not end
    return ToolResult(False)


def _capture(graph: Any, layer: Any, inputs: Any) -> None:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        layer(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, check_input_liveness=True):
        layer(*inputs)
