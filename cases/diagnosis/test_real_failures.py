"""Failures that torch raises here and now: what the installed release prints is understood."""

import io
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

NARROW, WIDE = 2688, 2816


def diagnosis_of(fails: Callable[[], Any]) -> Diagnosis:
    """The diagnosis of the traceback that a call leaves."""
    try:
        fails()
    except Exception:
        report = diagnose(io.BytesIO(traceback.format_exc().encode()), "a traceback")
        (one,) = report.failures
        return one
    pytest.fail("nothing was raised")


def pair() -> tuple[Tensor, Tensor]:
    return torch.zeros(7, NARROW), torch.zeros(7, WIDE)


PAIRS: dict[str, tuple[str, Callable[[Tensor, Tensor], object]]] = {
    "add": ("broadcast", lambda a, b: a + b),
    "in place": ("broadcast", lambda a, b: a.add_(b)),
    "copy": ("broadcast", lambda a, b: a.copy_(b)),
    "cat": ("broadcast", lambda a, b: torch.cat([a, b])),
    "stack": ("broadcast", lambda a, b: torch.stack([a, b])),
    "where": ("broadcast", lambda a, b: torch.where(a > 0, a, b)),
    "norm": ("broadcast", lambda a, b: functional.layer_norm(b, (NARROW,))),
    "split": ("broadcast", lambda a, b: b.split([NARROW // 2, NARROW // 2], -1)),
    "narrow": ("broadcast", lambda a, b: a.narrow(1, 0, WIDE)),
    "matmul": ("matmul", lambda a, b: b @ torch.zeros(NARROW, 3)),
    "linear": ("matmul", lambda a, b: functional.linear(b, torch.zeros(3, NARROW))),
    "bmm": ("matmul", lambda a, b: torch.bmm(b[None], torch.zeros(1, NARROW, 3))),
    "vector": ("matmul", lambda a, b: torch.mv(a, torch.zeros(WIDE))),
    "reshape": ("reshape", lambda a, b: a.reshape(a.shape[0], WIDE)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_widths_in_eager_code(name: str) -> None:
    kind, call = PAIRS[name]
    one = diagnosis_of(lambda: call(*pair()))
    assert (one.kind, one.verdict, one.padded) == (kind, "undecided", WIDE)  # nothing but the sizes speaks for padding


@pytest.mark.parametrize("name", PAIRS)
def test_two_widths_of_fake_tensors(name: str) -> None:
    kind, call = PAIRS[name]

    def fails() -> None:
        with FakeTensorMode():
            call(*pair())

    one = diagnosis_of(fails)
    if name == "stack":  # torch shows the first shape alone
        assert one.kind == kind
    else:
        assert (one.kind, one.verdict, one.padded) == (
            kind,
            "undecided",
            WIDE,
        )  # nothing but the sizes speaks for padding


@pytest.fixture
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("dynamic", [False, True])
def test_two_widths_in_dynamo(dynamic: bool) -> None:
    tensors = pair()
    if dynamic:
        for tensor in tensors:
            torch._dynamo.mark_dynamic(tensor, 0)
    compiled = torch.compile(lambda shared, routed: shared + routed, backend="eager", fullgraph=True)
    one = diagnosis_of(lambda: compiled(*tensors))
    assert (one.kind, one.stage, one.phase, one.padded) == ("broadcast", "shared add", "traced", WIDE)
    assert one.tokens.startswith("symbolic (s" if dynamic else "static (7)")
    assert "test_real_failures.py" in one.user_line


@pytest.mark.usefixtures("fresh")
def test_a_view_of_cut_columns_in_dynamo() -> None:
    compiled = torch.compile(lambda b: b[:, :NARROW].view(-1), backend="eager", fullgraph=True)
    one = diagnosis_of(lambda: compiled(torch.zeros(7, WIDE)))
    assert (one.kind, one.verdict, one.padded) == ("reshape", "family", WIDE)


def registered(name: str, real: Callable[..., Tensor], fake: Callable[..., Tensor] | None) -> Any:
    """A custom op of the namespace ``diagnosed``."""
    op = torch.library.custom_op(f"diagnosed::{name}", real, mutates_args=())
    if fake is not None:
        op.register_fake(fake)
    return op


def _narrow(x: Tensor) -> Tensor:
    return x[:, :NARROW].clone()


def _same(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@pytest.mark.usefixtures("fresh")
def test_a_fake_that_says_the_padded_width() -> None:
    op = registered("narrow", _narrow, _same)
    one = diagnosis_of(lambda: torch.compile(lambda x: op(x) + 1, fullgraph=True)(torch.zeros(7, WIDE)))
    assert (one.kind, one.verdict, one.padded, one.op) == ("size-stride-assert", "family", WIDE, "diagnosed::narrow")
    one = diagnosis_of(lambda: torch.library.opcheck(op, (torch.zeros(7, WIDE),)))
    assert (one.kind, one.verdict, one.padded, one.op) == ("metadata-mismatch", "family", WIDE, "diagnosed::narrow")


@pytest.mark.usefixtures("fresh")
def test_an_op_without_a_fake() -> None:
    op = registered("fakeless", _narrow, None)
    compiled = torch.compile(lambda x: op(x), backend="eager", fullgraph=True)
    one = diagnosis_of(lambda: compiled(torch.zeros(7, WIDE)))
    assert (one.kind, one.verdict, one.op) == ("missing-fake", "other", "diagnosed::fakeless")


def test_an_output_that_is_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(x: Tensor) -> Tensor:
        return x

    op = registered("aliased", same, _same)
    one = diagnosis_of(lambda: torch.library.opcheck(op, (torch.zeros(3),)))
    assert (one.kind, one.verdict) == ("alias", "other")


def test_a_call_that_does_not_fit_the_schema() -> None:
    op = registered("schema", _narrow, _same)
    one = diagnosis_of(lambda: torch.ops.diagnosed.schema())
    assert (one.kind, one.op) == ("schema-arguments", "diagnosed::schema")
    assert op is not None


@pytest.mark.usefixtures("fresh")
def test_a_token_count_that_is_a_constant() -> None:
    x = torch.zeros(64, 3)
    torch._dynamo.mark_dynamic(x, 0)
    compiled = torch.compile(lambda x: x * int(x.shape[0]) if x.shape[0] == 64 else x, backend="eager", fullgraph=True)
    one = diagnosis_of(lambda: compiled(x))
    assert (one.kind, one.verdict, [width.size for width in one.widths]) == ("constraint", "undecided", [64])


@pytest.mark.usefixtures("fresh")
def test_a_recompile_for_each_batch() -> None:
    compiled = torch.compile(lambda x: x * 2, backend="eager", dynamic=False)
    compiled(torch.ones(2, 3))
    with torch.compiler.set_stance("fail_on_recompile"):
        one = diagnosis_of(lambda: compiled(torch.ones(5, 3)))
    assert (one.kind, one.verdict, [width.size for width in one.widths]) == ("recompile", "undecided", [2, 5])


@pytest.mark.usefixtures("fresh")
def test_a_decision_on_data() -> None:
    compiled = torch.compile(lambda x: x if x.sum() > 0 else -x, backend="eager", fullgraph=True)
    assert diagnosis_of(lambda: compiled(torch.ones(3))).kind == "data-dependent"


@pytest.mark.parametrize(
    ("kind", "fails"),
    [
        ("index", lambda: torch.zeros(3)[9]),
        ("autograd", lambda: torch.ones(3).sum().backward()),
        ("dtype-mismatch", lambda: torch.zeros(2, 3) @ torch.zeros(3, 2).bfloat16()),
        ("checkpoint-keys", lambda: torch.nn.Linear(3, 3).load_state_dict({"w": torch.zeros(3)})),
        ("missing-module", lambda: __import__("a_module_that_is_not_there")),
        ("device-mismatch", lambda: torch.zeros(3).to("meta") + torch.zeros(3)),
        ("dtype-mismatch", lambda: torch.nn.Linear(8, 8)(torch.zeros(2, 8, dtype=torch.float16))),
        ("index", lambda: torch.nn.Embedding(10, 4)(torch.tensor([11]))),
        ("index", lambda: functional.cross_entropy(torch.zeros(2, 3), torch.tensor([1, 5]))),
        ("index", lambda: torch.zeros(3, 3).gather(1, torch.tensor([[7]]))),
        ("out-of-memory", lambda: torch.empty(1 << 46)),
        ("pickling", lambda: pickle.dumps(lambda x: x)),
        ("pickling", lambda: torch.load(io.BytesIO(b"no checkpoint" * 20))),
        ("exception", lambda: functional.conv2d(torch.zeros(1, 4, 8, 8), torch.zeros(8, 3, 3, 3))),
        ("exception", lambda: torch.distributed.all_reduce(torch.ones(1))),
        ("exception", lambda: torch.zeros(3).item()),
        ("broadcast", lambda: torch.zeros(3) + torch.zeros(4)),
        ("broadcast", lambda: torch.zeros(1, 3, 224, 224) + torch.zeros(1, 3, 256, 256)),
        ("broadcast", lambda: torch.zeros(2, 50257) + torch.zeros(2, 50304)),
        ("matmul", lambda: torch.nn.Linear(512, 10)(torch.zeros(2, 2048))),
        ("reshape", lambda: torch.zeros(3, 4).reshape(5, 5)),
        ("view", lambda: torch.zeros(3, 4).t().view(-1)),
    ],
)
def test_a_failure_of_another_family(kind: str, fails: Callable[[], Any]) -> None:
    one = diagnosis_of(fails)
    assert (one.kind, one.verdict) == (kind, "other")
