"""Real and fake on meta tensors: this shows outputs that one of them allocates on the wrong device."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.base.exception_text import first_line
from harness.engines.declared.running import machine
from harness.engines.declared.running.capture import Captured
from harness.engines.declared.samples.table import fitting
from harness.engines.declared.source.schema import with_enums
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta


def compare(captured: Captured) -> list[dict[str, str]]:
    """For each sample, how real and fake differ on meta tensors; ``unrun`` says why the real body does not run."""
    assert captured.real is not None
    assert captured.fake is not None
    return [_one(captured, label, arguments) for label, arguments in fitting(captured).samples]


def _one(captured: Captured, label: str, arguments: dict[str, Any]) -> dict[str, str]:
    """What differs on meta tensors only. What also differs on the CPU is in the audit's other rows."""
    on_meta, on_cpu = _on("meta", captured, label, arguments), _on("cpu", captured, label, arguments)
    return on_meta | {"differs": "" if on_meta["differs"] == on_cpu["differs"] else on_meta["differs"]}


def _on(device: str, captured: Captured, label: str, arguments: dict[str, Any]) -> dict[str, str]:
    result = {"sample": label, "differs": "", "unrun": ""}
    try:
        real = _call(device, captured, captured.real, arguments)
    except Exception as error:  # a body that needs more of a GPU than its name
        return result | {"unrun": f"{type(error).__name__}: {first_line(error)}"}
    try:
        fake = _call(device, captured, captured.fake, arguments)
    except Exception as error:  # the row `fake` of the audit reports it too
        return result | {"differs": f"the fake raises {type(error).__name__}: {first_line(error)}"}
    return result | {"differs": _differ(real, fake).replace("meta", "the inputs' own")}


def _call(device: str, captured: Captured, function: Any, arguments: dict[str, Any]) -> list[Tensor]:
    from harness.engines.declared.running.registered import running_kernels

    given = tree_map_only(
        Tensor, lambda x: torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device).copy_(x), arguments
    )
    names = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in names.values()):
        given = {name: value for name, value in given.items() if name in names}
    with running_kernels(captured, given), machine.on_gpu(device):
        return [leaf for leaf in tree_leaves(with_enums(function)(**given)) if isinstance(leaf, Tensor)]


def _differ(real: list[Tensor], fake: list[Tensor]) -> str:
    if len(real) != len(fake):
        return f"real gives {len(real)} outputs, its fake {len(fake)}"
    for place, (ours, theirs) in enumerate(zip(real, fake, strict=True)):
        different = differs(TensorMeta.of(ours), TensorMeta.of(theirs))
        if different:
            return (f"output {place}: " if len(real) > 1 else "") + different
    return ""
