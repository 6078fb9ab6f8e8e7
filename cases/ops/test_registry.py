"""The registry of custom ops: an op is whole for torch, and its parts can be exchanged for a test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from harness.observers.contract import differs
from harness.ops.registry import RegisteredOp, register_op, registered, sources
from harness.ops.tensor_meta import TensorMeta
from kernels.layer.experts import OP, routed_experts

NAME = "cases_registry::widen"


def _fake(x: Tensor, width: int) -> Tensor:
    return x.new_empty(x.shape[0], width)


@register_op(NAME, "(Tensor x, SymInt width) -> Tensor", fake=_fake, devices=("cpu",), alignment="none")
def widen(x: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=1.0)


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_an_op_is_defined_and_runs() -> None:
    out = widen(torch.zeros(2, 3), 5)
    assert torch.equal(out, torch.ops.cases_registry.widen(torch.zeros(2, 3), 5))
    assert out.tolist() == [[0, 0, 0, 1, 1]] * 2
    assert str(widen.overload._schema) == f"{NAME}(Tensor x, SymInt width) -> Tensor"


def test_it_is_listed_with_what_is_known_of_it() -> None:
    op = registered()[NAME]
    assert op is widen
    assert (op.alignment, op.samples, set(op.reals)) == ("none", None, {"cpu"})
    assert OP in registered()


def test_the_list_is_a_copy() -> None:
    registered().clear()
    assert NAME in registered()


def test_it_has_a_fake() -> None:
    with FakeTensorMode() as mode:
        out = widen(mode.from_tensor(torch.zeros(2, 3)), 5)
    assert out.shape == (2, 5)
    assert widen(torch.zeros(2, 3, device="meta"), 4).shape == (2, 4)


def test_it_is_one_node_for_dynamo() -> None:
    nodes: list[Any] = []

    def backend(module: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        nodes.extend(node.target for node in module.graph.nodes if node.op == "call_function")
        return module.forward

    compiled = torch.compile(lambda x: widen(x, 4), fullgraph=True, backend=backend)
    assert torch.equal(compiled(torch.zeros(2, 3)), widen(torch.zeros(2, 3), 4))
    assert nodes == [widen.overload]


def test_it_compiles_to_the_same_with_symbolic_sizes() -> None:
    compiled = torch.compile(lambda x: widen(x, 4) + 1, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows in (2, 5):
        assert torch.equal(compiled(torch.zeros(rows, 3)), widen(torch.zeros(rows, 3), 4) + 1)


def test_torch_itself_accepts_it() -> None:
    checked = torch.library.opcheck(
        widen.overload, (torch.zeros(2, 3), 5), test_utils=("test_schema", "test_faketensor")
    )
    assert set(checked.values()) == {"SUCCESS"}


def test_torch_itself_refuses_it_with_a_planted_fake() -> None:
    with (
        widen.planted(fake=lambda x, width: x.new_empty(x.shape)),
        pytest.raises(Exception, match=r"mismatched|Shapes"),
    ):
        torch.library.opcheck(widen.overload, (torch.zeros(2, 3), 5), test_utils="test_faketensor")


def test_calls_of_the_real_implementation_are_counted() -> None:
    before = widen.calls
    widen(torch.zeros(2, 3), 5)
    torch.ops.cases_registry.widen(torch.zeros(2, 3), 5)
    with FakeTensorMode() as mode:
        widen(mode.from_tensor(torch.zeros(2, 3)), 5)
    assert widen.calls == before + 2


def test_a_planted_fake_is_used_and_taken_out() -> None:
    with FakeTensorMode() as mode:
        x = mode.from_tensor(torch.zeros(2, 3))
        with widen.planted(fake=lambda x, width: x.new_empty(1)):
            assert widen(x, 5).shape == (1,)
            assert widen.fake is not _fake
        assert widen(x, 5).shape == (2, 5)
    assert widen.fake is _fake


def test_a_planted_kernel_is_used_and_taken_out() -> None:
    kept = dict(widen.reals)
    with widen.planted(real=lambda x, width: x * 0 + 7):
        assert widen(torch.zeros(1, 1), 5).item() == 7
    assert widen.reals == kept
    assert widen(torch.zeros(1, 1), 2).tolist() == [[0, 1]]


def test_planting_one_leaves_the_other() -> None:
    real = widen.reals["cpu"]
    with widen.planted(fake=lambda x, width: x):
        assert widen.reals["cpu"] is real
    with widen.planted(real=lambda x, width: x):
        assert widen.fake is _fake


def test_what_was_planted_is_taken_out_after_an_error() -> None:
    kept = widen.fake, dict(widen.reals)
    with pytest.raises(KeyError), widen.planted(fake=lambda x, width: x, real=lambda x, width: x):
        raise KeyError
    assert (widen.fake, widen.reals) == kept


def test_planting_nests() -> None:
    with widen.planted(real=lambda x, width: x + 1):
        with widen.planted(real=lambda x, width: x + 2):
            assert widen(torch.zeros(1, 1), 1).item() == 2
        assert widen(torch.zeros(1, 1), 1).item() == 1
    assert widen(torch.zeros(1, 1), 1).item() == 0


def test_another_device_can_be_given_an_implementation_later() -> None:
    @register_op("cases_registry::later", "(Tensor x) -> Tensor", fake=torch.empty_like, devices=())
    def later(x: Tensor) -> Tensor:
        return x

    assert isinstance(later, RegisteredOp)
    with pytest.raises(NotImplementedError):
        later(torch.zeros(1))

    @later.impl("cpu")
    def on_cpu(x: Tensor) -> Tensor:
        return x + 1

    @later.impl("cuda")
    def on_cuda(x: Tensor) -> Tensor:
        return x + 2

    assert later(torch.zeros(1)).item() == 1
    assert later.reals == {"cpu": on_cpu, "cuda": on_cuda}
    assert torch._C._dispatch_has_kernel_for_dispatch_key("cases_registry::later", "CUDA")


def test_an_implementation_is_exchanged_when_given_again() -> None:
    @register_op("cases_registry::again", "(Tensor x) -> Tensor", fake=torch.empty_like, devices=("cpu",))
    def again(x: Tensor) -> Tensor:
        return x + 1

    @again.impl("cpu")
    def better(x: Tensor) -> Tensor:
        return x + 5

    assert again(torch.zeros(1)).item() == 5


def test_sources_change_with_the_fake() -> None:
    right = sources(NAME)
    assert "def _fake" in right
    assert "def widen" in right
    assert widen.schema in right
    with widen.planted(fake=lambda x, width: x.new_empty(1)):
        broken = sources(NAME)
    assert broken != right
    assert sources(NAME) == right


def test_sources_change_with_the_kernel() -> None:
    right = sources(NAME)
    with widen.planted(real=lambda x, width: x):
        assert sources(NAME) != right


def test_sources_of_an_op_that_others_registered_hold_its_schema() -> None:
    torch.library.define("cases_registry_foreign::plain", "(Tensor x) -> Tensor")
    assert sources("cases_registry_foreign::plain") == "cases_registry_foreign::plain(Tensor x) -> Tensor"


def test_sources_of_an_op_that_others_registered_hold_its_fake() -> None:
    torch.library.define("cases_registry_foreign::same", "(Tensor x) -> Tensor")

    @torch.library.register_fake("cases_registry_foreign::same")
    def _(x: Tensor) -> Tensor:
        return torch.empty_like(x)

    assert "torch.empty_like(x)" in sources("cases_registry_foreign::same")


def test_sources_of_what_has_no_file() -> None:
    made: dict[str, Any] = {}
    exec("def fake(x, width): return x.new_empty(1, 3)", {}, made)
    right = sources(NAME)
    with widen.planted(fake=made["fake"]):
        assert sources(NAME) != right


@pytest.mark.parametrize("place", range(4))
def test_samples_of_the_routed_experts_run_and_agree_with_their_fake(place: int) -> None:
    assert routed_experts.samples is not None
    sample = list(routed_experts.samples(torch.device("cpu")))[place]
    real = routed_experts(*sample)
    assert real.shape == (sample[0].shape[0], sample[10])
    assert real.isfinite().all()
    assert real.any()
    with FakeTensorMode() as mode:
        fake = routed_experts(*tree_map_only(Tensor, mode.from_tensor, sample))
    assert differs(TensorMeta.of(real), TensorMeta.of(fake)) == ""
    with routed_experts.planted(fake=lambda *args: args[0].new_empty(1, 1)), FakeTensorMode() as mode:
        fake = routed_experts(*tree_map_only(Tensor, mode.from_tensor, sample))
    assert differs(TensorMeta.of(real), TensorMeta.of(fake)) != ""


def test_samples_hold_wide_and_narrow_kernels() -> None:
    assert routed_experts.samples is not None
    samples = list(routed_experts.samples(torch.device("cpu")))
    assert len(samples) == 4
    assert {sample[10] == sample[0].shape[1] for sample in samples} == {True, False}
