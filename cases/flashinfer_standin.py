"""FlashInfer's own Python around torch stand-ins for its NVFP4 kernels, for a process of its own; prints a JSON line a check.

They show that preparation, call and unpadding fit the description in ``cases.flashinfer_kernels``; whether it fits the
kernels, only a GPU can show.

    python -m cases.flashinfer_standin trtllm [prepare]
"""

import ast
import contextlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cases.flashinfer_kernels import Told, bits, cutile_kernel, cutlass_kernel, trtllm_kernel
from cases.flashinfer_layouts import swizzled
from harness.case import Case
from harness.errors import Skip
from harness.flashinfer import capture, standin
from harness.shapes import load
from harness.values import compare
from kernels import flashinfer_calls, flashinfer_subject, flashinfer_weights, weights
from kernels.flashinfer_backends import BACKENDS, Backend, installed
from kernels.flashinfer_experts import flashinfer_experts
from kernels.nvfp4 import Nvfp4, quantise_rows
from kernels.weights import Experts

SUBJECTS = {
    "trtllm": flashinfer_subject.Trtllm,
    "cutlass": flashinfer_subject.Cutlass,
    "cutile": flashinfer_subject.Cutile,
}


class StandIn(standin.Kernels):
    """Loaded in the place of FlashInfer's compiled modules. The names of arguments are those of the Python that calls."""

    def trtllm_fp4_block_scale_moe(self, *args: Any) -> list[Tensor]:
        """trtllm-gen's kernel."""
        return trtllm_kernel(named("trtllm_fp4_block_scale_moe", args))

    def init(self, *_: Any) -> "StandIn":
        """A CUTLASS runner."""
        return self

    def run_moe(self, *args: Any) -> None:
        """CUTLASS' kernel."""
        cutlass_kernel(named("run_moe", args))


def named(function: str, args: tuple[Any, ...]) -> Told:
    """The positional arguments of a kernel by the names of the variables that FlashInfer's Python passes."""
    from flashinfer.fused_moe import core

    calls = [node for node in ast.walk(ast.parse(inspect.getsource(core))) if isinstance(node, ast.Call)]
    fitting = [call for call in calls if ast.unparse(call.func) in (function, f"moe_op.{function}")]
    call = max(fitting, key=lambda one: one.lineno)  # MoERunner's own, for the tuner, comes before
    # What is starred is for the mode of minimum latency, and empty in any other.
    names = [ast.unparse(argument) for argument in call.args if not isinstance(argument, ast.Starred)]
    return dict(zip(names, args, strict=True))


def install() -> None:
    """FlashInfer's Python with these kernels, and the op on a CPU."""
    standin.Spec.build_and_load = lambda *_, **__: StandIn()  # type: ignore[method-assign]
    capture.capture()
    _cutile()
    torch.cuda.current_device = lambda: 0
    torch.cuda.device = lambda _: contextlib.nullcontext()  # type: ignore[assignment,misc]
    flashinfer_subject.missing = lambda backend, _: absent(backend)
    flashinfer_experts.impl("cpu")(flashinfer_experts.reals["cuda"])


def case(model: str, hidden: int, kernel: str, rule: str) -> Case:
    """A case of a model's kind at a small width that its rule pads."""
    found = Case.of(load().shape(model), load().rule(rule), kernel, tp=1, tokens=5)
    return replace(found, hidden=hidden, intermediate=96, shared=found.shared and 64)


def absent(backend: Backend) -> str:
    """Why this FlashInfer cannot run a backend, wherever it runs."""
    try:
        installed(backend)
    except Skip as reason:
        return str(reason)
    return ""


def _cutile() -> None:
    """FlashInfer's cuTile runner on a CPU, as if on SM90: it asks for its device when it is made, and so is made here."""
    from flashinfer.fused_moe import runners

    if not hasattr(runners, "CuTileNvfp4Bf16Runner"):
        return
    from flashinfer import cutile
    from flashinfer.fused_moe.cutile import fp4

    def made(runner: Any, config: Any, device: torch.device) -> None:
        super(runners.CuTileBf16Runner, runner).__init__()
        given = {"config": config, "device": device, "_device_arch": 90, "_num_sms": 132, "_kernel_module": None}
        vars(runner).update(given, _workspace_cache={}, _workspace=None, tuning_config=None)

    runners.CuTileBf16Runner.__init__ = made
    cutile.is_cuda_tile_available = lambda *_: True
    parameters = list(inspect.signature(fp4.run_moe).parameters)
    fp4.run_moe = lambda *args, **told: cutile_kernel(dict(zip(parameters, args, strict=False)) | told)


CHECKS = {
    "silu": ("qwen3-30b-a3b", 272, "wide"),
    "narrow": ("qwen3-30b-a3b", 272, "narrow"),
    "clamped": ("gpt-oss-20b", 400, "narrow"),
    "relu2-shared": ("nemotron-3-nano-30b-a3b", 272, "wide"),
    "latent": ("synthetic-latent-padded", 320, "narrow"),
    "gelu": ("gemma-4-26b-a4b", 272, "wide"),
}


def judged(backend: str, check: str) -> float:
    """0 where the layer agrees with its oracle within the harness's tolerances, else its worst error. Raises Skip."""
    subject, (model, hidden, kernel) = SUBJECTS[backend](), CHECKS[check]
    one = case(model, hidden, kernel, "cutlass-nvfp4" if backend == "cutlass" else "trtllm-nvfp4")
    device = torch.device("cpu")
    layer = subject.build(one, device)
    inputs = subject.inputs(one, one.tokens, 3, device)
    out = layer(*inputs)
    assert out.shape == (one.tokens, one.hidden)
    assert out.is_contiguous()
    assert layer(*(x[:0] for x in inputs)).shape == (0, one.hidden)
    difference = compare(out, subject.oracle(one, inputs))
    return difference.worst if difference else 0.0


def unlike(backend: str) -> list[str]:
    """Which tensors FlashInfer's own preparation makes otherwise, where this release has one and it needs no GPU.

    Its quantiser and its swizzle are kernels; here they are torch.
    """
    from flashinfer import fp4_quantization, fused_moe
    from flashinfer.fused_moe import prepare
    from flashinfer.quantization import fp4_quantization as quantization

    fp4_quantization.fp4_quantize = lambda x, **_: quantise_rows(x, 1.0)[:2]
    quantization.block_scale_interleave = swizzled
    prepare._prepare_cutile_fp4_scales = lambda scales, **_: scales.contiguous()  # below SM100
    generator = torch.Generator().manual_seed(0)
    gate, up, down = (torch.randn(2, *s, generator=generator).bfloat16() for s in ((128, 256), (128, 256), (256, 128)))

    def plain(weight: Tensor) -> Nvfp4:
        found = [quantise_rows(one, 1.0) for one in weight]
        return Nvfp4(*(torch.stack(parts) for parts in zip(*found, strict=True)))

    ours = BACKENDS[backend].prepare(Experts(*plain(torch.cat((gate, up), 1)), *plain(down)), True)
    both = torch.cat((up, gate), 1)  # a checkpoint's order
    sizes = {"num_local_experts": 2, "hidden_size": 256, "intermediate_size": 128}
    if backend == "trtllm":
        quant = fused_moe.QuantConfig(weight=fused_moe.QuantFormat.NVFP4, activation=fused_moe.QuantFormat.NVFP4)
        theirs = prepare.prepare_trtllm_fp4_weights(both, down, quant=quant, **sizes)
        names = ("gemm1_weights", "gemm1_weights_scale", "gemm2_weights", "gemm2_weights_scale")
    else:
        given = [
            part.view(torch.float8_e4m3fn) if at % 3 == 1 else part
            for at, part in enumerate((*plain(both), *plain(down)))
        ]
        theirs = prepare.prepare_cutile_nvfp4_weights(*given, **sizes)
        names = ("w1", "w1_scale", "w2", "w2_scale")
    held = (ours.w13, ours.w13_scale, ours.w2, ours.w2_scale)
    return [name for name, one in zip(names, held, strict=True) if not torch.equal(bits(theirs[name]), one)]


@contextlib.contextmanager
def planted(fault: str) -> Iterator[None]:
    """A fault of preparation, for the length of a ``with`` block."""
    right_parts = weights.pad_parts
    plants: dict[str, tuple[Any, str, Any]] = {
        "gate and up swapped": (flashinfer_weights, "up_gate_rows", lambda rows: torch.arange(rows).view(2, -1).T.flatten()),
        "gate over up": (flashinfer_weights, "up_over_gate", lambda stack, gated: stack),
        "padded at the end": (weights, "pad_parts", lambda x, r, c, parts: right_parts(x, parts * r, c, 1)),
        "not swizzled": (flashinfer_weights, "swizzle_128x4", lambda scales: scales),
        "not shuffled": (flashinfer_weights, "shuffled_rows", torch.arange),
        "input scale dropped": (flashinfer_weights, "INPUT_SCALE", 1.0),
        "intermediate scale dropped": (flashinfer_weights, "INNER_SCALE", 1.0),
        "scalars exchanged": (flashinfer_calls, "trtllm_arguments", exchanged(flashinfer_calls.trtllm_arguments)),
        "up over gate": (flashinfer_subject.Cutile, "backend", replace(BACKENDS["cutile"], prepare=up_over_gate)),
        "weights' scale dropped": (flashinfer_subject.InTree, "experts", without_scale(flashinfer_subject.InTree.experts)),
    }  # fmt: skip
    holder, name, value = plants[fault]
    kept = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, kept)


def exchanged(right: Callable[..., tuple[Told, Told]]) -> Callable[..., tuple[Told, Told]]:
    """A call's arguments with the scalars of the first product in each other's place."""

    def arguments(*args: Any) -> tuple[Told, Told]:
        needed, wanted = right(*args)
        names = ("output1_scale_scalar", "output1_scale_gate_scalar")
        return needed | dict(zip(names, (needed[name] for name in reversed(names)), strict=True)), wanted

    return arguments


def up_over_gate(experts: Experts, gated: bool) -> Experts:
    """Weights for cuTile in a checkpoint's order, which CUTLASS wants."""
    halves = {name: flashinfer_weights.up_over_gate(getattr(experts, name), gated) for name in ("w13", "w13_scale")}
    return flashinfer_weights.for_cutile(replace(experts, **halves), gated)


def without_scale(right: Callable[..., Experts]) -> Callable[..., Experts]:
    """Experts whose second matrices' global scales are one."""

    def experts(*args: Any) -> Experts:
        found = right(*args)
        return replace(found, w2_global_scale=torch.ones_like(found.w2_global_scale))

    return experts


FAULTS = {
    "trtllm": ("gate and up swapped", "padded at the end", "not swizzled", "not shuffled", "input scale dropped",
               "intermediate scale dropped", "scalars exchanged", "weights' scale dropped"),
    "cutlass": ("gate over up", "padded at the end", "not swizzled", "input scale dropped",
                "intermediate scale dropped", "weights' scale dropped"),
    "cutile": ("up over gate", "padded at the end", "weights' scale dropped"),
}  # fmt: skip


def told(backend: str, check: str, name: str) -> None:
    """Print what a check says."""
    try:
        row: Told = {"check": name, "error": judged(backend, check)}
    except Skip as reason:
        row = {"check": name, "skipped": str(reason)}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    install()
    for check in CHECKS:
        told(sys.argv[1], check, check)
    for fault in FAULTS[sys.argv[1]]:
        with planted(fault):
            told(sys.argv[1], "silu", fault)
    if sys.argv[2:]:
        print(json.dumps({"check": "unlike", "tensors": unlike(sys.argv[1])}))
