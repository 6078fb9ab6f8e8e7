"""What a capture takes and what it refuses, as a real one on an H100 does: no wait for the device, no data-dependent shape."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.base.source import SourceLine

# On a CPU tensor these dispatch no op, so a dispatch mode cannot see them: they are patched instead.
_HOST_READS = {"cpu": ".cpu()", "numpy": ".numpy()", "tolist": ".tolist()", "__array__": "numpy.asarray()"}
_HOST_WRITES = {name: f"torch.{name}()" for name in ("tensor", "as_tensor", "asarray", "from_numpy")}
# torch.Tensor([...]), torch.FloatTensor([...]) and the like dispatch these once their memory is filled.
FROM_HOST = ("aten::lift_fresh", "aten::lift")
_DATA_TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
_MASKS = (torch.bool, torch.uint8)
_INDEX_PUTS = ("aten::index_put", "aten::index_put_", "aten::_unsafe_index_put", "aten::_index_put_impl_")


class CaptureRefused(RuntimeError):
    """The layer did what a real capture would refuse. ``line`` is the user's line, ``cause`` the reason for the refusal."""

    cause = (
        "A CUDA graph records kernels only. During a capture the host may not wait for the device, copy to or from it "
        "synchronously, or depend on its data."
    )

    def __init__(self, what: str, cause: str = "") -> None:
        super().__init__(what)
        self.line = SourceLine.here()
        self.cause = cause or CaptureRefused.cause


def _refuse(what: str) -> Callable[..., Any]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        raise CaptureRefused(what)

    return refused


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if "cpu" in [target for target in (*args, *kwargs.values()) if isinstance(target, str)]:
        if not kwargs.get("non_blocking"):
            raise CaptureRefused('.to("cpu") in a capture copies to the host')
        kwargs["copy"] = True  # a copy that does not wait is captured
    return torch._C.TensorBase.to(tensor, *args, **kwargs)


def _unless_scalar(function: Callable[..., Any], refused: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.tensor(1.0)`` without a device stays on the host, and a kernel takes it by value; anything else is a copy."""

    def make(data: Any, *args: Any, **kwargs: Any) -> Any:
        by_value = isinstance(data, bool | int | float) and kwargs.get("device") is None
        return (function if by_value else refused)(data, *args, **kwargs)

    return make


@contextmanager
def host_guard() -> Iterator[None]:
    """Refuse copies between host and device. Patches, because a TorchFunctionMode is off inside custom ops."""
    reads = {name: _refuse(f"{shown} in a capture waits for the device") for name, shown in _HOST_READS.items()}
    reads["new_tensor"] = _refuse(".new_tensor() in a capture copies from the host")
    writes = {name: _refuse(f"{shown} in a capture copies from the host") for name, shown in _HOST_WRITES.items()}
    for name in ("tensor", "as_tensor"):
        writes[name] = _unless_scalar(getattr(torch, name), writes[name])
    with ExitStack() as stack:
        for owner, patches in ((Tensor, reads | {"to": _to}), (torch, writes)):
            for name, function in patches.items():
                stack.enter_context(mock.patch.object(owner, name, function))
        yield


class WithoutHostChecks(TorchFunctionMode):
    """Runs ``one_hot(ids, classes)`` as CUDA does. On a CPU it first reads the ids, to check them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch._C._nn.one_hot, torch.ops.aten.one_hot, torch.ops.aten.one_hot.default):
            return one_hot(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def one_hot(ids: Tensor, num_classes: int = -1) -> Tensor:
    """``torch.nn.functional.one_hot``, int64 [..., classes], without a look at the ids. Raises CaptureRefused without classes."""
    if num_classes < 0:
        raise CaptureRefused("one_hot without num_classes in a capture depends on the data")
    return ids.new_zeros(*ids.shape, num_classes).scatter_(-1, ids.unsqueeze(-1), 1)


def shape_known(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an op whose tag says that it depends on data does not wait for data here. A real capture then takes it.

    It takes ``torch.equal`` too. Its answer is fixed at the capture, which the values of a replay show.
    """
    if func is torch.ops.aten.index.Tensor:
        return not _has_mask(args[1])
    if func is torch.ops.aten.repeat_interleave.Tensor:
        return (args[1] if len(args) > 1 else kwargs.get("output_size")) is not None
    return func is torch.ops.aten.equal.default


def masked_write(func: Any, args: Any) -> bool:
    """Whether this writes a tensor through a mask, whose elements must be counted. A single number fills through the mask."""
    return func._schema.name in _INDEX_PUTS and _has_mask(args[1]) and bool(args[2].dim())


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in _MASKS for index in indices)


def on_host(indices: Tensor) -> int | tuple[int, ...]:
    """The sections or indices of a ``tensor_split``, read from the tensor on the host that holds them."""
    return tuple(int(index) for index in indices) if indices.dim() else int(indices)


@cache
def depends_on_data(func: Any) -> bool:
    """Whether torch marks an op's result or its shape as dependent on data."""
    return any(tag in func.tags for tag in _DATA_TAGS)
