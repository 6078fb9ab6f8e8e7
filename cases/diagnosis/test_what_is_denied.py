"""What an answer denies holds of its text: padding, a width, a fake are denied only where the text does not speak of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fixtures.diagnosing import diagnosis_of, raised

FRAME = (
    'Traceback (most recent call last):\n  File "/srv/acme/layer.py", line 7, in {function}\n    {code}\n{message}\n'
)
PLAIN, FILLED = "y = run(x)", "y = F.pad(run(x), (0, extra))"
MESSAGES = {
    "capture": "RuntimeError: CUDA error: operation not permitted when stream is capturing",
    "graph-break": "torch._dynamo.exc.Unsupported: Attempted to call function marked as skipped",
    "illegal-access": "RuntimeError: CUDA error: an illegal memory access was encountered",
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_line_that_pads_is_not_denied(kind: str) -> None:
    text = FRAME.format(function="forward", code=PLAIN, message=MESSAGES[kind])
    plain, filled = diagnosis_of(text), diagnosis_of(text.replace(PLAIN, FILLED))
    assert (plain.kind, plain.verdict) == (filled.kind, "other") == (kind, "other")
    assert filled.verdict == "undecided"
    assert "speaks of padding" in filled.cause
    assert not any(text.startswith("padding") for text in filled.against)


@pytest.mark.parametrize(
    ("message", "verdict", "wide"),
    [
        ("ValueError: w2 has an invalid shape [96, 3072], expected [96, 2880]", "undecided", 3072),
        ("ValueError: w2 has an invalid shape [96, 2880], expected [2880, 96]", "other", None),
        ("ValueError: w2 has an invalid shape [96, 2048], expected [96, 4096]", "other", None),
        ("ValueError: weight must have shape (2880, 96), and has (3072, 96)", "undecided", 3072),
        ("IndexError: index 3071 is out of bounds for dimension 1 with size 2880", "other", None),
    ],
)
def test_a_message_with_a_width_and_it_padded_is_not_denied(message: str, verdict: str, wide: int | None) -> None:
    one = diagnosis_of(FRAME.format(function="forward", code=PLAIN, message=message))
    assert (one.verdict, one.padded) == (verdict, wide)
    assert not (wide and any("width" in text for text in one.against))


@pytest.mark.parametrize(("rows", "kind"), [(128, "matmul"), (256, "matmul")])
def test_a_multiple_that_doubles_a_size_is_named(rows: int, kind: str) -> None:
    one = diagnosis_of(raised(lambda: torch.zeros(3, rows) @ torch.zeros(2 * rows, rows)))
    assert one.kind == kind
    assert "no rule known here makes one of the other" not in " ".join(one.against)


def test_two_fake_tensors_may_be_of_a_wrong_fake() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda a, b: a + b, backend="eager", fullgraph=True)
    tensors = torch.zeros(7, 2688), torch.zeros(7, 2816)
    traced, eager = (
        diagnosis_of(raised(lambda: compiled(*tensors))),
        diagnosis_of(raised(lambda: tensors[0] + tensors[1])),
    )
    assert not any("wrong fake" in text for text in traced.against)
    assert "whether eager code fails too" in traced.look
    assert any("wrong fake" in text for text in eager.against)


@pytest.mark.parametrize(
    "code",
    ["y = routed + shared", "act = gelu(h[:, :n]) * h[:, m:]", "y = x @ w", "return out.view(tokens, hidden)"],
)
def test_a_wrong_fake_is_denied_of_eager_code_alone(code: str) -> None:
    sizes = "The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1"
    message = {
        "y = x @ w": "mat1 and mat2 shapes cannot be multiplied (7x2816 and 2688x96)",
        "return out.view(tokens, hidden)": "shape '[7, 2688]' is invalid for input of size 19712",
    }.get(code, sizes)
    eager = FRAME.format(function="forward", code=code, message=f"RuntimeError: {message}")
    compiled = eager.replace("/srv/acme/layer.py", "/tmp/torchinductor_me/ab/cab.py")
    (denied,) = (text for text in diagnosis_of(eager).against if "wrong fake" in text)
    assert "in eager code" in denied
    assert "Inductor" not in denied
    assert not any("wrong fake" in text for text in diagnosis_of(compiled).against)


def _doubled(x: Tensor) -> Tensor:
    return x * 2 if (x.shape[0] + 127) // 128 * 128 > 256 else x


def _many(x: Tensor) -> Tensor:
    return x * 2 if x.shape[0] > 256 else x


@pytest.mark.parametrize(("function", "denies"), [(_doubled, False), (_many, True)])
def test_a_guard_that_is_of_a_rounded_size(function: Callable[[Tensor], Tensor], denies: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="eager", dynamic=True, fullgraph=True)
    compiled(torch.zeros(100, 3))
    with torch.compiler.set_stance("fail_on_recompile"):
        one = diagnosis_of(raised(lambda: compiled(torch.zeros(300, 3))))
    assert one.kind == "recompile"
    assert any("has a word of it" in text for text in one.against) == denies
    assert denies or one.verdict == "undecided"


def test_a_backend_that_failed_denies_nothing() -> None:
    def fails(graph: object, inputs: object) -> Callable[..., object]:
        raise ValueError("the padded width is wrong")

    torch._dynamo.reset()
    one = diagnosis_of(raised(lambda: torch.compile(lambda x: x + 1, backend=fails)(torch.zeros(3))))
    assert one.against == ()
