"""FlashInfer's NVFP4 MoE kernels: what each needs of the device, of the installed FlashInfer and of a layer's widths.

FlashInfer is imported inside functions, when they are called.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from harness.base.errors import Skip
from harness.matrix.case import Case
from harness.matrix.shapes import Alignment, load
from kernels.flashinfer.weights import Prepare, for_cutile, for_cutlass, for_trtllm

MODULE = "flashinfer.fused_moe"


@dataclass(frozen=True, slots=True)
class Backend:
    """One of FlashInfer's NVFP4 MoE kernels."""

    name: str
    function: str
    """The name of the function in ``flashinfer.fused_moe``."""
    capabilities: str
    """The compute capabilities, for messages; ``runs`` decides."""
    runs: Callable[[tuple[int, int]], bool]
    rule: Alignment
    """The multiples that its widths must be."""
    activations: tuple[str, ...]
    prepare: Prepare
    """Padded weights to the kernel's layout."""
    quantises: bool = True
    """Whether it quantises activations to NVFP4 too."""


_GATED = ("silu", "clamped-swiglu")
TRTLLM = Backend(
    name="trtllm",
    function="trtllm_fp4_block_scale_routed_moe",
    capabilities="10.x",
    runs=lambda capability: capability[0] == 10,
    rule=load().rule("trtllm-nvfp4"),
    activations=(*_GATED, "relu2"),  # its Geglu is in closed code: whether it uses tanh is not known
    prepare=for_trtllm,
)
CUTLASS = Backend(
    name="cutlass",
    function="cutlass_fused_moe",
    capabilities="10.0 or higher",
    runs=lambda capability: capability >= (10, 0),
    rule=Alignment("flashinfer-cutlass", 64, 16, 16),  # csrc/fused_moe/cutlass_backend; runners round up to more
    activations=(*_GATED, "gelu-tanh", "relu2"),
    prepare=for_cutlass,
)
CUTILE = Backend(
    name="cutile",
    function="CuTileNvfp4Bf16Runner",
    capabilities="9.0",
    runs=lambda capability: capability == (9, 0),
    rule=Alignment("flashinfer-cutile", 64, 64, 64),  # flashinfer/fused_moe/prepare.py
    activations=(*_GATED, "gelu-tanh", "relu2"),
    prepare=for_cutile,
    quantises=False,
)
BACKENDS = {backend.name: backend for backend in (TRTLLM, CUTLASS, CUTILE)}


def missing(backend: Backend, device: torch.device) -> str:
    """Why the backend cannot run on this device with the installed FlashInfer, or an empty string."""
    if find_spec("flashinfer") is None:
        return "flashinfer is not installed"
    if device.type != "cuda":
        return f"FlashInfer's kernels run on a CUDA device, not on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if not backend.runs(capability):
        has = ".".join(map(str, capability))
        return f"{called(backend)} needs compute capability {backend.capabilities}; this device has {has}"
    try:
        installed(backend)
    except Skip as error:
        return str(error)
    return _no_cutile(device) if backend is CUTILE else ""


def _no_cutile(device: torch.device) -> str:
    """Asks FlashInfer, which alone knows whether its cuTile compiler is installed and supports this device."""
    available = importlib.import_module("flashinfer.cutile").is_cuda_tile_available(device)
    return "" if available else "cuda-tile and a tileiras compiler that knows this device are not installed"


def refused(backend: Backend, case: Case) -> str:
    """Why the backend does not take a case's widths or activation, or an empty string."""
    if case.activation not in backend.activations:
        return f"{called(backend)} has no activation {case.activation}, or none that is known to be it"
    inner = "intermediate", case.padded_intermediate, backend.rule.intermediate(case.gated)
    for what, width, multiple in (("hidden", case.padded, backend.rule.hidden), inner):
        if width % multiple:
            rule = case.alignment.name
            return f"{called(backend)} takes {what} widths that are multiples of {multiple}; rule {rule} gives {width}"
    return ""


def called(backend: Backend) -> str:
    """The function's full name, as a user would search for it."""
    return f"{MODULE}.{backend.function}"


def installed(backend: Backend) -> Any:
    """The function of the installed FlashInfer. Raises Skip where it has none, or does not import."""
    try:
        module = importlib.import_module(MODULE)
    except Exception as error:  # FlashInfer may raise anything at import
        raise Skip(f"{MODULE} does not import: {type(error).__name__}: {error}") from error
    if not hasattr(module, backend.function):
        raise Skip(f"the installed FlashInfer{version()} has no {called(backend)}")
    return getattr(module, backend.function)


def version() -> str:
    """The installed FlashInfer's version after a space, or an empty string if it has none."""
    number = getattr(importlib.import_module("flashinfer"), "__version__", "")
    return f" {number}" if number else ""


def fitting(function: Callable[..., Any], needed: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for a function: all that are needed, and those of the wanted ones that it has.

    Raises Skip, with the names, if it lacks a needed argument or requires one that is not given.
    """
    parameters = inspect.signature(function).parameters
    name = getattr(function, "__name__", str(function))
    if lacking := [argument for argument in needed if argument not in parameters]:
        raise Skip(f"the installed FlashInfer's {name} has no argument {', '.join(lacking)}")
    given = {**needed, **{argument: value for argument, value in wanted.items() if argument in parameters}}
    unknown = [key for key, one in parameters.items() if key not in given and _required(one)]
    if unknown:
        raise Skip(f"the installed FlashInfer's {name} asks for {', '.join(unknown)}, which is not known here")
    return given


def _required(parameter: inspect.Parameter) -> bool:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variable
