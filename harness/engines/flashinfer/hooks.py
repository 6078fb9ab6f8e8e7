"""What FlashInfer needs of a stand-in: answers for its questions about the GPU, a JIT that compiles nothing, its launchers."""

import re
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from harness.engines.declared.engine import Samples
from harness.engines.declared.running import kernels, machine
from harness.engines.declared.running.building import STAND_IN
from harness.engines.flashinfer.samples import backends, moe, quantize
from harness.engines.flashinfer.scripts import script

__all__ = ["patch", "returned", "samples", "script"]

Function = Callable[..., Any]
# What FlashInfer's host code asks about the machine. The answers are those of one Blackwell GPU.
_MACHINE: dict[str, Function] = {
    "get_compute_capability": lambda *_: machine.CAPABILITY,
    "device_support_pdl": lambda *_: False,
    "setup_cubin_loader": lambda *_: None,
    "get_seed_and_offset": lambda *_, **__: (0, 0),  # of CUDA's own generator
    "_use_cuda_norm": lambda *_: True,  # so that it does not use the DSL's kernels, even if the DSL is installed
}
# The names of functions in FlashInfer that return a module to compile.
_GENERATES = re.compile(r"gen_\w+|_gen_(\w+_)?module")
_NAMES = re.compile(r"get_(\w+)_uri")  # these give the name of such a module, which its ops bear
# Runners whose kernels are written in CuTe's Python.
_RUNNERS = "flashinfer.prims_ts.moe.runner"


def patch(module: ModuleType) -> None:
    """Patch a module of FlashInfer so that it compiles nothing, and questions about the GPU have answers."""
    if module.__name__ == "flashinfer.autotuner":
        module.AutoTuner.choose_one = lambda self, op, runners, *_, **__: (runners[0], -1)
        return
    for name, value in list(vars(module).items()):
        if name in _MACHINE:
            setattr(module, name, _MACHINE[name])
        elif _GENERATES.fullmatch(name) and callable(value):
            setattr(module, name, lambda *_, **__: Spec())
        elif named := _NAMES.fullmatch(name):
            setattr(module, name, lambda *_, _uri=named[1], **__: _uri)
        elif name.startswith("is_prims_ts_") and name.endswith("_supported"):
            setattr(module, name, lambda *_, **__: (True, ""))
        elif module.__name__ == _RUNNERS and "forward" in getattr(value, "__dict__", ()):
            value.forward = forward


class Spec:
    """The return value of FlashInfer's ``gen_*_module`` functions. It builds nothing and loads stub kernels."""

    name = STAND_IN

    def build_and_load(self, *args: Any, **kwargs: Any) -> kernels.Kernels:
        """The loaded module."""
        return kernels.Kernels()

    def get_library_paths(self) -> tuple[str, ...]:
        """No library, so that no loader of cubins is set up."""
        return ()

    def get_library_path(self) -> str:
        """Older releases ask for one path."""
        return ""


class Launched(kernels.Kernels):
    """The return value of a trtllm-gen MoE launcher: an array with the layout of ``FusedMoeLauncher::run``.

    csrc/trtllm_fused_moe_kernel_launcher.cu: [output] or, not finalised, [gemm2_output, expert_weights,
    expanded_idx_to_permuted_idx]; with a LoRA delta gemm1_output comes last.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments

    def __getitem__(self, place: int) -> Tensor:
        arguments, hidden = self._arguments, self._arguments["hidden_states"]
        tokens, chosen = hidden.shape[0], arguments["top_k"] + (arguments.get("num_fused_shared_experts") or 0)
        packed = hidden.dtype == torch.uint8
        width, rows = hidden.shape[1] * (1 + packed), tokens * chosen + 16  # the rows depend on the routing
        indices: tuple[tuple[int, ...], torch.dtype] = ((tokens * chosen,), torch.int32)
        slots = [((tokens, width), torch.bfloat16), indices]
        if not arguments.get("do_finalize", True):
            slots = [((rows, width), torch.bfloat16), ((tokens, chosen), torch.bfloat16), indices]
        shape, dtype = [*slots, ((rows, arguments["intermediate_size"]), torch.bfloat16)][place]
        made: Tensor = hidden.new_ones(shape, dtype=dtype)
        return made


def returned(arguments: dict[str, Any]) -> Launched | None:
    """What a kernel returns: an array for a launcher of the MoE, nothing that is known for others."""
    return Launched(arguments) if "hidden_states" in arguments and "top_k" in arguments else None


def forward(_: Any, inputs: Sequence[Any], *__: Any, **options: Any) -> list[Tensor]:
    """The return value of a Prims-TS MoE runner, whose real kernels need CuTe's compiler.

    See the end of each ``forward`` in prims_ts/moe/runner.py. It returns nothing if the output was written, or, not
    finalised, [gemm2_output, expert_weights, expanded_idx_to_permuted_idx].
    """
    launched = kernels.kernel(inputs, options)
    return [] if options["do_finalize"] else [launched[place] for place in range(3)]


def samples(name: str) -> Samples | None:
    """The samples of an op by name; None where there are none."""
    for table in (moe.SAMPLES, backends.SAMPLES):
        if name in table:
            return list(table[name]())
    if name in quantize.SAMPLES:
        return [(label, {}, about) for label, about in quantize.SAMPLES[name]()]
    return None
