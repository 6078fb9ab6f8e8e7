"""What a layer holds of its weights beside them: tensors and numbers that no state_dict has, and what a load prepares."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from harness.execution.evidence import Call, same_bits

_ROLES = (0.0, 1.0)  # numbers that say whether a rank does something, and come from no weight


def give_unsaved(layer: nn.Module, other: nn.Module) -> list[str]:
    """Give a layer the floating tensors and numbers that another holds beside its state_dict. The names of those that differed."""
    theirs = dict(other.named_modules())
    given = [
        f"{path and path + '.'}{name}"
        for path, module in layer.named_modules()
        for name, value in _unsaved(theirs.get(path, module))
        if _exchanged(module, name, value)
    ]
    return given


def _unsaved(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and value of each floating tensor and number of a module that is not in its state_dict."""
    saved = {name for name in (*module._parameters, *module._buffers) if name not in module._non_persistent_buffers_set}
    for name, value in {**vars(module), **module._buffers}.items():
        if name not in saved and _is_derived(value):
            yield name, value


def _is_derived(value: object) -> bool:
    return (isinstance(value, Tensor) and value.is_floating_point()) or (type(value) is float and value not in _ROLES)


def _exchanged(module: nn.Module, name: str, value: Any) -> bool:
    """Put a value in the place of the module's own; False where that is the same, or of another form."""
    place: dict[str, Any] = module._buffers if name in module._buffers else vars(module)
    own = place.get(name)
    if type(own) is not type(value) or _is_same(own, value):
        return False
    place[name] = value.clone() if isinstance(value, Tensor) else value
    return True


def _is_same(own: Any, value: Any) -> bool:
    """Whether two values are alike; a tensor of another shape cannot be exchanged, and counts as alike."""
    if isinstance(own, Tensor):
        return own.shape != value.shape or same_bits(own, value)
    return bool(own == value)


def same_output(call: Call, wanted: Call) -> bool:
    """Whether two calls gave the same, up to the order of their sums."""
    if call.snapshot is None or wanted.snapshot is None or call.error or call.snapshot.shape != wanted.snapshot.shape:
        return False
    return bool(torch.allclose(call.snapshot.float(), wanted.snapshot.float(), rtol=0.02, atol=0.02))


_OWN_LOADS = ("_load_from_state_dict", "load_state_dict")
_HOOKS = ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")


def prepares_at_load(layer: nn.Module) -> bool:
    """Whether a module does something of its own where weights are loaded."""
    return any(
        any(getattr(type(module), name) is not getattr(nn.Module, name) for name in _OWN_LOADS)
        or any(getattr(module, name, None) for name in _HOOKS)
        for module in layer.modules()
    )
