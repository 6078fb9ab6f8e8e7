"""An add of a hidden and a latent width: the operands of the line and their sizes tell whose output is the latent one."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import FAMILY, Diagnosis

MODELS = {"nemotron-3-super-120b-a12b": (4096, 1024), "kimi-k3": (7168, 3584)}
ADDED = "RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1"
FAKE = "FakeTensor(..., device='cuda:0', size=(s7, {size}), dtype=torch.bfloat16)"


def traceback(code: str, message: str, raises: str = "") -> str:
    frames = f'  File "/opt/vllm/dist-packages/vllm/layers/moe_runner.py", line 742, in forward\n    {code}\n'
    inner = f'  File "/opt/lib/python3.12/site-packages/torch/_dynamo/exc.py", line 601, in raised\n    {raises}\n'
    return f"Traceback (most recent call last):\n{frames}{inner if raises else ''}{message}\n"


def the_one(model: str, text: str) -> Diagnosis:
    (one,) = diagnose(io.BytesIO(f"vLLM version 0.26.0 serves {model}\n{text}".encode()), "x").failures
    return one


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("code", "wide_first"),
    [
        ("result = shared_output + fused_output", True),
        ("return routed_out + shared_out", False),
        ("shared_output.add_(final_hidden_states)", True),
        ("final_hidden_states += self.shared_experts(x)", False),
        ("out = torch.add(hidden, routed_output)", True),
    ],
)
def test_the_routed_output_is_the_latent_one(model: str, code: str, wide_first: bool) -> None:
    wide, narrow = MODELS[model]
    a, b = (wide, narrow) if wide_first else (narrow, wide)
    one = the_one(model, traceback(code, ADDED.format(a=a, b=b)))
    assert one.verdict == FAMILY
    assert "The routed experts' output has the latent one" in one.cause
    assert "given the latent tensor" not in f"{one.cause} {one.against}"
    assert not one.relatives
    assert one.operands[0].startswith(f"{narrow}: the routed experts' output")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("code", "wide_first"), [("result = shared_output + fused_output", False), ("out += shared_out", True)]
)
def test_the_shared_output_is_the_latent_one(model: str, code: str, wide_first: bool) -> None:
    wide, narrow = MODELS[model]
    a, b = (wide, narrow) if wide_first else (narrow, wide)
    one = the_one(model, traceback(code, ADDED.format(a=a, b=b)))
    assert "The shared expert's output has the latent one" in one.cause
    assert "routed" not in one.cause
    assert one.operands[0].startswith(f"{narrow}: the shared expert's output")


@pytest.mark.parametrize("code", ["out = self.combine(shared_output, fused_output, x)", "out = a + b"])
def test_a_line_that_does_not_tell_leaves_both(code: str) -> None:
    one = the_one("kimi-k3", traceback(code, ADDED.format(a=7168, b=3584)))
    assert "or the shared expert was given the latent tensor" in one.cause


@pytest.mark.parametrize("raises", ["raise Unsupported(", "return wrapped(", "raise exc(*("])
def test_a_message_begins_with_no_line_of_a_frame(raises: str) -> None:
    fakes = ", ".join(FAKE.format(size=size) for size in (4096, 1024))
    said = f"call_function <built-in function add>(*({fakes}), **{{}}): got RuntimeError('" + ADDED.format(
        a=4096, b=1024
    )
    message = f"torch._dynamo.exc.TorchRuntimeError: RuntimeError when making fake tensor call\n  Explanation: {said[:-1]}1)')"
    one = the_one("kimi-k3", traceback("out = shared_output + fused_output", message, raises))
    assert raises not in one.what
    alone = f"torch._dynamo.exc.TorchRuntimeError: Dynamo failed to run FX node with fake tensors: {said[:-1]}1)')"
    one = the_one("kimi-k3", traceback("out = shared_output + fused_output", alone, raises))
    assert one.what.startswith("torch._dynamo.exc.TorchRuntimeError: Dynamo failed")
