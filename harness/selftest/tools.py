"""What torch's own tools find in a layer: opcheck, a comparison of eager with compiled, Inductor alone, and input liveness.

They run under the harness's pinned settings, which are not torch's defaults and help them: asserts are on, uninitialised
memory is filled with NaN, and cache keys include the fakes.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from harness.base.exception_text import first_line
from harness.execution.difference import compare
from harness.execution.pinned import cache_folder, inductor, pinned, trust_instruction_set
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.matrix.case import Case
from harness.selftest.liveness import liveness, unavailable
from harness.selftest.opchecked import RecordedOps, copy_of, opcheck
from harness.selftest.tool_names import AGAINST_EAGER, INDUCTOR, LIVENESS, OPCHECK, TOOL_NAMES
from harness.selftest.tool_result import ToolResult
from harness.subjects.subject import Subject

_CALLS = 2


@dataclass(slots=True)
class _Outputs:
    """The outputs of two calls with different inputs, or the error that one of them raised."""

    given: list[Any]
    error: BaseException | None = None


def look(subject: Subject, case: Case, device: torch.device) -> dict[str, Any]:
    """The ``ToolResult`` of each tool as JSON, by the names in TOOL_NAMES."""
    with pinned():
        rig = Rig(subject, case, device, "eager")
        recorded = RecordedOps()
        try:
            with recorded:
                eager = _outputs(rig, rig.start().layer)
            compiled = _outputs(rig, _compiled(rig))
        except Exception as error:  # the layer cannot be built, which a user of any tool would see
            return {name: asdict(result) for name, result in _unbuilt(error, device).items()}
        results = {
            OPCHECK: opcheck(recorded),
            AGAINST_EAGER: _against(eager, compiled),
            INDUCTOR: _alone(rig, compiled),
            LIVENESS: liveness(rig),
        }
    return {name: asdict(result) for name, result in results.items()}


def _unbuilt(error: Exception, device: torch.device) -> dict[str, ToolResult]:
    result = ToolResult(True, f"{type(error).__name__}: {first_line(error)}")
    why = unavailable(device)
    return dict.fromkeys(TOOL_NAMES, result) | ({LIVENESS: ToolResult(False, not_run=why)} if why else {})


def _outputs(rig: Rig, layer: Any) -> _Outputs:
    outputs = _Outputs([])
    for seed in range(_CALLS):
        try:
            out = layer(*rig.inputs(rig.case.tokens, seed))
        except LAYER_ERRORS as error:
            outputs.error = error
            break
        outputs.given.append(copy_of(out) if isinstance(out, Tensor) else out)
    return outputs


def _compiled(rig: Rig) -> Callable[..., Any]:
    trust_instruction_set(cache_folder())
    torch._dynamo.reset()
    function: Callable[..., Any] = torch.compile(rig.start().layer, fullgraph=True, dynamic=False, backend=inductor)
    return function


def _against(eager: _Outputs, compiled: _Outputs) -> ToolResult:
    """Compare eager with compiled as a user would: exceptions, shapes, strides, dtypes and values."""
    for name, outputs in (("eager", eager), ("compiled", compiled)):
        if outputs.error is not None:
            return ToolResult(True, f"{name} raised {type(outputs.error).__name__}: {first_line(outputs.error)}")
    for ours, theirs in zip(eager.given, compiled.given, strict=True):
        if difference := _difference(ours, theirs):
            return ToolResult(True, difference)
    return ToolResult(False)


def _difference(eager: Any, compiled: Any) -> str:
    left, right = tree_leaves(eager), tree_leaves(compiled)
    if len(left) != len(right):
        return f"eager gives {len(left)} outputs, compiled {len(right)}"
    for ours, theirs in zip(left, right, strict=True):
        if isinstance(ours, Tensor) and isinstance(theirs, Tensor) and (text := _of_tensors(ours, theirs)):
            return text
    return ""


def _of_tensors(eager: Tensor, compiled: Tensor) -> str:
    for name in ("shape", "dtype", "device"):
        if getattr(eager, name) != getattr(compiled, name):
            return f"eager gives {name} {getattr(eager, name)}, compiled {getattr(compiled, name)}"
    if eager.stride() != compiled.stride():
        return f"eager gives stride {eager.stride()}, compiled {compiled.stride()}"
    finite = torch.isfinite(eager)
    if not torch.equal(finite, torch.isfinite(compiled)):
        return "eager and compiled have NaN or infinity in different places"
    if eager.dim() != 2 or not eager.numel():
        return ""
    difference = compare(compiled.nan_to_num(0.0, 0.0, 0.0), eager.nan_to_num(0.0, 0.0, 0.0).float())
    return f"columns {difference.ranges} differ" if difference else ""


def _alone(rig: Rig, compiled: _Outputs) -> ToolResult:
    """Inductor with its asserts. It raises, or passes; ``silent`` if the values then differ from the oracle's."""
    if compiled.error is not None:
        return ToolResult(True, f"{type(compiled.error).__name__}: {first_line(compiled.error)}")
    for seed, out in enumerate(compiled.given):
        expected = rig.expected(rig.case.tokens, seed)
        shape_ok = isinstance(out, Tensor) and out.shape == (rig.case.tokens, rig.case.hidden)
        if not shape_ok or out.device != rig.device or not torch.isfinite(out).all() or compare(out, expected):
            return ToolResult(False, silent=True)
    return ToolResult(False)
