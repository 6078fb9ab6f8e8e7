"""Real and fake on tensors that are not on the CPU, and have no data: what FlashInfer allocates on its way to a GPU."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.engines.flashinfer.captured import machine
from harness.engines.flashinfer.captured.capture import Captured
from harness.engines.flashinfer.declared.schema import with_enums
from harness.engines.flashinfer.samples.table import fitting
from harness.findings.exception_text import first_line
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta


def compare(found: Captured) -> list[dict[str, str]]:
    """For each sample, how real and fake differ there; ``unrun`` says why the real body does not run."""
    assert found.real is not None
    assert found.fake is not None
    return [_one(found, label, arguments) for label, arguments in fitting(found.name, found.real)]


def _one(found: Captured, label: str, arguments: dict[str, Any]) -> dict[str, str]:
    """What differs off the CPU and does not differ so on it: the rest is told by the audit's own rows."""
    there, here = _on("meta", found, label, arguments), _on("cpu", found, label, arguments)
    return there | {"differs": "" if there["differs"] == here["differs"] else there["differs"]}


def _on(device: str, found: Captured, label: str, arguments: dict[str, Any]) -> dict[str, str]:
    told = {"sample": label, "differs": "", "unrun": ""}
    try:
        real = _asked(device, found, found.real, arguments)
    except Exception as error:  # a body that asks more of a GPU than its name
        return told | {"unrun": f"{type(error).__name__}: {first_line(error)}"}
    try:
        fake = _asked(device, found, found.fake, arguments)
    except Exception as error:  # the row `fake` of the audit proper
        return told | {"differs": f"the fake raises {type(error).__name__}: {first_line(error)}"}
    return told | {"differs": _differ(real, fake).replace("meta", "the inputs' own")}


def _asked(device: str, found: Captured, function: Any, arguments: dict[str, Any]) -> list[Tensor]:
    from harness.engines.flashinfer.captured.registered import running_kernels

    given = tree_map_only(
        Tensor, lambda x: torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device).copy_(x), arguments
    )
    names = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in names.values()):
        given = {name: value for name, value in given.items() if name in names}
    with running_kernels(found, given), machine.on_gpu(device):
        return [leaf for leaf in tree_leaves(with_enums(function)(**given)) if isinstance(leaf, Tensor)]


def _differ(real: list[Tensor], fake: list[Tensor]) -> str:
    if len(real) != len(fake):
        return f"real gives {len(real)} outputs, its fake {len(fake)}"
    for place, (ours, theirs) in enumerate(zip(real, fake, strict=True)):
        found = differs(TensorMeta.of(ours), TensorMeta.of(theirs))
        if found:
            return (f"output {place}: " if len(real) > 1 else "") + found
    return ""
