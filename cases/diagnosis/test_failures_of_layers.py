"""What the harness has a finding for may be of this family where the op, its schema or the line is of a layer with experts."""

import pytest

from fixtures.diagnosing import diagnosis_of

FRAME = 'Traceback (most recent call last):\n  File "/srv/plover/{file}", line 31, in forward\n    {code}\n{message}\n'
NO_FAKE = "torch._subclasses.fake_tensor.UnsupportedOperatorException: {op}.default"
MOST = (
    "RuntimeError: {op}() expected at most 3 argument(s) but received 4 argument(s). "
    "Declaration: {op}(Tensor x, Tensor {second}, Tensor ids) -> Tensor"
)
LACKS = "TypeError: {function}() missing 1 required positional argument: 'scale'"
IN_A_TRACE = "torch._dynamo.exc.TorchRuntimeError: Failed running call_function with fake tensors: {message}"
CAPTURE = "RuntimeError: CUDA error: operation not permitted when stream is capturing"


def verdict(file: str, code: str, message: str) -> str:
    return diagnosis_of(FRAME.format(file=file, code=code, message=message)).verdict


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("plover::fused_experts", "undecided"),
        ("plover_moe::scatter", "undecided"),
        ("plover::rms_norm", "other"),
        ("aten::bincount", "other"),
    ],
)
def test_an_op_without_a_fake(op: str, expected: str) -> None:
    code = f"y = torch.ops.{op.replace('::', '.')}(x)"
    assert verdict("layer.py", code, NO_FAKE.format(op=op.replace("::", "."))) == expected


def test_an_op_without_a_fake_at_a_line_of_experts() -> None:
    assert verdict("layer.py", "y = self.routed_experts(x)", NO_FAKE.format(op="plover.spread")) == "undecided"
    assert verdict("moe.py", "y = self.experts(x.nonzero())", NO_FAKE.format(op="aten.nonzero")) == "other"


@pytest.mark.parametrize(
    ("op", "second", "expected"),
    [
        ("plover::spread", "topk_weights", "undecided"),
        ("plover::spread", "w13", "undecided"),
        ("plover::spread", "cos", "other"),
    ],
)
def test_a_call_that_does_not_fit_the_schema(op: str, second: str, expected: str) -> None:
    message = MOST.format(op=op, second=second)
    one = diagnosis_of(FRAME.format(file="layer.py", code="y = torch.ops.plover.spread(x, a, ids, 7)", message=message))
    assert one.verdict == expected
    assert "the op is of an older version" in one.cause
    assert not one.relatives, "a bug of a caller that leaves out an argument"


def test_a_fake_that_lacks_an_argument() -> None:
    of_experts, of_norms = (
        IN_A_TRACE.format(message=LACKS.format(function=f"{name}_fake")) for name in ("moe_apply", "rms_norm")
    )
    assert verdict("layer.py", "y = apply(x)", of_experts) == "undecided"
    assert verdict("layer.py", "y = apply(x)", of_norms) == "other"


@pytest.mark.parametrize(
    ("file", "code", "expected"),
    [
        ("moe.py", "counts = per_group.tolist()", "undecided"),
        ("layer.py", "counts = tokens_per_expert.tolist()", "undecided"),
        ("sampler.py", "picked = ids.tolist()", "other"),
        ("qwen9_moe.py", "lengths = self.attn.seq_lens.tolist()", "other"),
    ],
)
def test_a_capture_that_a_line_refuses(file: str, code: str, expected: str) -> None:
    assert verdict(file, code, CAPTURE) == expected


def test_the_separator_of_pytest_is_no_part_of_a_message() -> None:
    message = f"E   {MOST.format(op='plover::spread', second='cos')}"
    text = (
        "____________________________ test_spread ____________________________\n"
        f"cases/test_spread.py:9: in test_spread\n    torch.ops.plover.spread(x, a, ids, 7)\n{message}\n"
        f"{' short test summary info '.center(80, '=')}\nFAILED cases/test_spread.py::test_spread - RuntimeErr...\n"
    )
    assert diagnosis_of(text).what.endswith("-> Tensor")


ASSERTS = "CUDA error: device-side assert triggered"
ASSERTED = (
    "{setting}\n/pytorch/aten/src/ATen/native/cuda/IndexKernel.cu:111: operator(): block: [0,0,0], thread: [5,0,0] Assertion "
    '`-sizes[i] <= index && index < sizes[i] && "index out of bounds"` failed.\n'
    + FRAME.format(file="moe.py", code="rows = self.expert_rows[picked]", message=f"torch.AcceleratorError: {ASSERTS}")
    + "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)


@pytest.mark.parametrize(
    ("setting", "late"),
    [
        ("INFO rank 3 of 8, CUDA_LAUNCH_BLOCKING=1, eager", False),
        ("env: CUDA_LAUNCH_BLOCKING=1", False),
        ("INFO rank 3 of 8, eager", True),
        ("INFO rank 3 of 8; for a place in the code, please set CUDA_LAUNCH_BLOCKING=1", True),
        ("CUDA_LAUNCH_BLOCKING=1 would name the line", True),
        ("I have not set CUDA_LAUNCH_BLOCKING=1 yet", True),
    ],
)
def test_late_is_said_where_kernels_were_not_launched_one_by_one(setting: str, late: bool) -> None:
    assert ("CUDA reports late" in diagnosis_of(ASSERTED.format(setting=setting)).cause) == late
