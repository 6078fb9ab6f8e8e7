"""FlashInfer's own Python around torch stand-ins for its NVFP4 kernels, for a process of its own; prints a JSON line a check.

The stand-ins compute from the weights as they were prepared, read back by ``cases.flashinfer_layouts``, and from the
scalars as FlashInfer's tests define them. They show that preparation, call and unpadding fit the description; whether
the description fits the kernels, only a GPU can show.

    python -m cases.flashinfer_standin trtllm
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
from torch.nn import functional

from cases.flashinfer_layouts import cutlass_matrix, matrix, trtllm_matrix
from harness.case import Case
from harness.errors import Skip
from harness.flashinfer import capture, standin
from harness.shapes import load
from harness.values import compare
from kernels import flashinfer_subject, flashinfer_weights, weights
from kernels.flashinfer_backends import Backend, installed
from kernels.flashinfer_experts import flashinfer_experts
from kernels.oracle_nvfp4 import to_nvfp4
from kernels.weights import Experts

Told = dict[str, Any]
SUBJECTS = {
    "trtllm": flashinfer_subject.Trtllm,
    "cutlass": flashinfer_subject.Cutlass,
    "cutile": flashinfer_subject.Cutile,
}
RELU2, SWIGLU, GEGLU_TANH = 6, 3, 8  # FlashInfer's ActivationType


def swiglu(gate: Tensor, up: Tensor, told: Told, scale: Tensor | float = 1.0) -> Tensor:
    """silu(gate) * up, or gpt-oss's variant where limits are given: those of sums that ``scale`` is still to multiply."""
    alpha, beta, limit = (told[name] for name in ("alpha", "beta", "limit"))
    if alpha is None:
        return functional.silu(gate * scale) * up
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return gate * scale * torch.sigmoid(alpha * gate * scale) * (up + beta)


def trtllm_kernel(told: Told) -> list[Tensor]:
    """What trtllm-gen's NVFP4 MoE is described to do."""
    x = matrix(told["hidden_states"], told["hidden_states_scale"].view(torch.uint8))
    output = told["output"].float().zero_()
    names = ("gemm1_alpha", "gemm1_beta", "gemm1_clamp_limit")
    for expert in range(told["num_experts"]):
        rows = x @ trtllm_matrix(told["gemm1_weights"][expert], bits(told["gemm1_weights_scale"][expert])).T
        gate_scale = told["output1_scale_gate_scalar"][expert]
        limits = {name.split("_")[1]: value for name in names for value in [each(told[name], expert)]}
        if told["activation_type"] == RELU2:
            inner = torch.relu(rows * gate_scale).square()
        else:
            assert told["activation_type"] == SWIGLU
            up, gate = rows[:, 0::2], rows[:, 1::2]
            inner = swiglu(gate, up, {**limits, "limit": limits.pop("clamp")}, gate_scale)
        inner = to_nvfp4(1.0)(inner * told["output1_scale_scalar"][expert])
        down = trtllm_matrix(told["gemm2_weights"][expert], bits(told["gemm2_weights_scale"][expert]))
        every = inner @ down.T * told["output2_scale_scalar"][expert]
        share = (told["topk_weights"] * (told["topk_ids"] == expert)).sum(1, keepdim=True)
        output += share * every[:, : output.shape[1]]
    told["output"].copy_(output)
    return [told["output"]]


def cutlass_kernel(told: Told) -> None:
    """What CUTLASS' NVFP4 MoE does, by its source: bf16 between the first product and the activation, and after it."""
    assert not told["swizzled_input_sf"]
    _, scale13, alpha1, act2, scale2, alpha2 = told["quant_scales"]
    x = matrix(told["input"], told["input_sf"])
    output = told["output"].float().zero_()
    for expert in range(alpha1.shape[0]):
        first = cutlass_matrix(bits(told["fc1_expert_weights"][expert]), bits(scale13[expert]))
        rows = (x @ first.T * alpha1[expert]).bfloat16().float()
        limits = {name: each(told[f"swiglu_{name}"], expert) for name in ("alpha", "beta", "limit")}
        up, gate = rows.chunk(2, 1)
        kinds: dict[int, Callable[[], Tensor]] = {
            RELU2: lambda rows=rows: torch.relu(rows).square(),
            SWIGLU: lambda gate=gate, up=up, limits=limits: swiglu(gate, up, limits),
            GEGLU_TANH: lambda gate=gate, up=up: functional.gelu(gate, approximate="tanh") * up,
        }
        inner = kinds[int(told["activation_type"])]().bfloat16().float()
        second = cutlass_matrix(bits(told["fc2_expert_weights"][expert]), bits(scale2[expert]))
        # Its blocks' scales hold the global scale, which alpha2 takes out.
        every = to_nvfp4(1.0)(inner * act2) @ second.T * alpha2[expert]
        output += (told["token_final_scales"] * (told["token_selected_experts"] == expert)).sum(1, keepdim=True) * every
    told["output"].copy_(output)


def cutile_kernel(told: Told) -> Tensor:
    """What the cuTile kernels do, by their source: bf16 activations, linear scales, gate over up."""
    output = told["output"].float().zero_()
    x, activation = told["hidden_states"].float(), told["activation"]
    for expert in range(told["w1"].shape[0]):
        first = matrix(told["w1"][expert], bits(told["w1_scale"][expert])) * told["w1_global_scale"][expert]
        rows = (x @ first.T).bfloat16().float()
        gate, up = rows.chunk(2, 1)
        kind = type(activation).__name__
        if kind == "ReLU2":
            inner = torch.relu(rows).square()
        elif kind == "GeGLUTanh":
            inner = functional.gelu(gate, approximate="tanh") * up
        else:
            assert kind == "SwiGLU"
            limited = activation.limit is not None
            inner = swiglu(gate, up, vars(activation) if limited else {"alpha": None, "beta": None, "limit": None})
        second = matrix(told["w2"][expert], bits(told["w2_scale"][expert])) * told["w2_global_scale"][expert]
        every = (inner.bfloat16().float() @ second.T).bfloat16().float()
        output += (told["topk_weights"] * (told["topk_ids"] == expert)).sum(1, keepdim=True) * every
    told["output"].copy_(output)
    return told["output"]


def bits(words: Tensor) -> Tensor:
    """The bytes of a tensor that a caller viewed as another type."""
    return words.contiguous().view(torch.uint8)


def each(value: Tensor | None, expert: int) -> Any:
    """One expert's scalar, where there are any."""
    return None if value is None else value[expert]


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
        "weights' scale dropped": (flashinfer_subject.InTree, "experts", without_scale(flashinfer_subject.InTree.experts)),
    }  # fmt: skip
    holder, name, value = plants[fault]
    kept = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, kept)


def without_scale(right: Callable[..., Experts]) -> Callable[..., Experts]:
    """Experts whose second matrices' global scales are one."""

    def experts(*args: Any) -> Experts:
        found = right(*args)
        return replace(found, w2_global_scale=torch.ones_like(found.w2_global_scale))

    return experts


FAULTS = {
    "trtllm": ("gate and up swapped", "padded at the end", "not swizzled", "not shuffled", "input scale dropped",
               "intermediate scale dropped", "weights' scale dropped"),
    "cutlass": ("gate over up", "padded at the end", "not swizzled", "input scale dropped",
                "intermediate scale dropped", "weights' scale dropped"),
    "cutile": ("padded at the end", "weights' scale dropped"),
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
