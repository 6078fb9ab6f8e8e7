"""What must hold beside the values of one call: signatures, modes of torch, other batches, what is reduced, what is left."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fixtures.judged import Key, judged, keys
from fixtures.planting import REAL, SHARED, SHARED_TWO, SMALL, SMALL_TWO
from harness.execution import stages
from harness.execution.evidence import Call, Record, Run
from harness.execution.memory.reachable import reachable_tensors
from harness.findings.finding import OK
from harness.matrix.case import Case
from harness.observers import collectives
from harness.ops.collectives import all_reduce
from harness.ops.registry import register_op
from harness.ops.signatures import signature_mismatch
from harness.ops.tensor_meta import TensorMeta
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")


class GradModeMatters(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return super().scale(x) * (1.5 if torch.is_grad_enabled() else 1)


class TrainingMatters(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return super().scale(x) * (1 if self.training else 1.5)


class KeepsFirstCount(PaddedMoELayer):
    """Rows beyond the first batch's size are lost."""

    def dense(self, x: Tensor) -> Tensor:
        rows = self.__dict__.setdefault("rows", [x.shape[0]])[0]
        out = super().dense(x)
        return out if out.shape[0] <= rows else torch.cat((out[:rows], 0 * out[rows:]))


class ReducesInput(PaddedMoELayer):
    """One all-reduce, of what is whole; the right values for ranks that are copies."""

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        whole = all_reduce(hidden_states, self.tp) / self.tp
        return super().forward(whole, topk_ids, topk_weights)

    def reduce(self, x: Tensor) -> Tensor:
        return x * self.tp


class DropsSum(PaddedMoELayer):
    """The all-reduce returns a new tensor, and is called as if it summed in place."""

    def reduce(self, x: Tensor) -> Tensor:
        all_reduce(x, self.tp)
        return x


class SumsWhatIsWhole(PaddedMoELayer):
    """Right values, and an all-reduce whose result is not used."""

    def reduce(self, x: Tensor) -> Tensor:
        all_reduce(x, self.tp)
        return x * self.tp


class ReducesSharedAlone(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        return routed * self.tp + all_reduce(shared, self.tp)

    def reduce(self, x: Tensor) -> Tensor:
        return x


class SeedsPython(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        random.seed(1)
        return super().dense(x)


class SetsDevice(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        torch.set_default_device("cpu")
        return super().dense(x)


class ReplacesWeights(PaddedMoELayer):
    """Holds tensors made in the last call, which may have been one of inference mode."""

    def scale(self, x: Tensor) -> Tensor:
        self.w2_global_scale = self.w2_global_scale * 1.002
        return super().scale(x)


FAULTS: tuple[tuple[type[PaddedMoELayer], Case, str, Key], ...] = (
    (GradModeMatters, SMALL, "eager", ("tokens", "torch-mode", "layer")),
    (TrainingMatters, SMALL, "eager", ("repeated call", "not-repeatable", "layer")),
    (KeepsFirstCount, SMALL, "eager", ("second call", "stale", stages.EXPERTS)),
    (DropsSum, SMALL_TWO, "eager", ("collectives", "sum-unused", stages.REDUCE)),
    (DropsSum, SHARED_TWO, "fake", ("collectives", "sum-unused", stages.REDUCE)),
    (DropsSum, SHARED_TWO, "cudagraph", ("collectives", "sum-unused", stages.REDUCE)),
    (SumsWhatIsWhole, SMALL_TWO, "fake", ("collectives", "sum-unused", stages.REDUCE)),
    (ReducesInput, SMALL_TWO, "eager", ("collectives", "reduced-beside", stages.REDUCE)),
    (ReducesInput, SMALL_TWO, "fake", ("collectives", "reduced-beside", stages.REDUCE)),
    (ReducesSharedAlone, SHARED_TWO, "cudagraph", ("collectives", "reduced-beside", stages.REDUCE)),
    (SeedsPython, SMALL, "eager", ("global state", "global-state", "layer")),
    (SetsDevice, SMALL, "eager", ("global state", "global-state", "layer")),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[0].__name__}-{fault[2]}")
def test_a_fault_is_found_by_the_one_observer_that_can_see_it(fault: tuple[Any, ...]) -> None:
    layer, case, mode, expected = fault
    assert {key[:2] for key in keys(judged(layer, case, mode))} == {expected[:2]}
    assert judged(PaddedMoELayer, case, mode).ok


def test_weights_replaced_at_each_call_are_a_finding_and_no_error() -> None:
    assert ("alias", "mutated-state", "layer") in keys(judged(ReplacesWeights, SMALL))


def test_what_a_layer_sets_is_put_back() -> None:
    before = random.getstate()
    judged(SeedsPython, SMALL)
    judged(SetsDevice, SMALL)
    assert random.getstate() == before
    assert getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None) is None


# Correct layers in odd styles.


class InferenceOnly(PaddedMoELayer):
    """Writes to a parameter that is trained, which raises with grad mode on."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.space = nn.Parameter(torch.zeros(64, self.width, dtype=torch.bfloat16))

    def scale(self, x: Tensor) -> Tensor:
        return super().scale(self.space[: x.shape[0]].copy_(x).clone())


class BuiltForSo(PaddedMoELayer):
    """A workspace in a list, of as many rows as the layer is built for."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.spaces = [torch.zeros(80, self.padded, dtype=torch.bfloat16)]

    def pad(self, x: Tensor) -> Tensor:
        space = self.spaces[0][: x.shape[0]]
        space[:, : self.width] = x
        return space


@pytest.mark.parametrize("mode", ["eager", "fake", "fake-dynamic", "cudagraph"])
@pytest.mark.parametrize("layer", [InferenceOnly, BuiltForSo])
def test_a_right_layer_in_another_style_is_left_alone(layer: type[PaddedMoELayer], mode: str) -> None:
    verdict = judged(layer, SHARED, mode)
    assert (verdict.status, verdict.findings) == (OK, ())


def test_memory_is_found_where_a_layer_keeps_it() -> None:
    space, other = torch.zeros(3, 1), torch.zeros(4, 1)
    box: dict[str, list[Tensor]] = {"spaces": [space]}

    def layer(x: Tensor) -> Tensor:
        return box["spaces"][0] + unbound

    unbound = other
    assert {tensor.shape[0] for tensor in reachable_tensors(layer)} == {3, 4}
    assert [tensor.shape[0] for tensor in reachable_tensors(nn.Linear(2, 5, bias=False))] == [5]


# Signatures: torch leaves an argument that equals its default to the implementation's own default.


def fake_without_last(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any, j: str, k: int) -> Tensor:
    made: Tensor = a.new_empty(a.shape[0], k)
    return made


def test_a_fake_that_lacks_an_argument_is_found_though_nobody_gives_it() -> None:
    with routed_experts.planted(fake=fake_without_last):
        verdict = judged(PaddedMoELayer, SMALL)
    assert keys(verdict) == [("contract", "signature", stages.EXPERTS)]
    assert "does not take the schema's arguments: too many positional arguments" in verdict.findings[0].what
    assert judged(PaddedMoELayer, SMALL).ok


def _kernel(default: Any) -> Callable[..., Tensor]:
    return lambda x, factor=default: x.clone()


@register_op(
    "cases_properties::times", "(Tensor x, int factor=3) -> Tensor", fake=lambda x, factor=3: torch.empty_like(x)
)
def times(x: Tensor, factor: int = 3) -> Tensor:
    return x * factor


def test_defaults_are_the_schemas() -> None:
    assert signature_mismatch(times.overload) == ""
    with times.planted(real=_kernel(2)):
        assert (
            signature_mismatch(times.overload)
            == "its real implementation has 2 as the default of 'factor'; its schema has 3"
        )
    with times.planted(fake=lambda x, factor: torch.empty_like(x)):
        assert (
            signature_mismatch(times.overload)
            == "its fake implementation has no default for 'factor'; its schema has 3"
        )
    with times.planted(fake=lambda *x, **named: torch.empty_like(x[0])):
        assert signature_mismatch(times.overload) == ""


@torch.library.custom_op("cases_properties::plus", mutates_args=())
def plus(x: Tensor, *, summand: int = 1) -> Tensor:
    return x + summand


@plus.register_fake
def _fake_plus(x: Tensor, *, summand: int = 2) -> Tensor:
    return torch.empty_like(x)


def test_ops_of_torch_itself_are_read_too() -> None:
    assert "fake implementation has 2 as the default of 'summand'" in signature_mismatch(
        torch.ops.cases_properties.plus.default
    )
    assert signature_mismatch(torch.ops.aten.add.Tensor) == ""


def test_router_weights_that_a_kernel_normalises_again_are_found() -> None:
    def real(*args: Any) -> Tensor:
        return REAL(*args[:2], args[2] / args[2].sum(-1, keepdim=True), *args[3:])

    with routed_experts.planted(real=real):
        assert keys(judged(PaddedMoELayer, SHARED))[0][:2] == ("values", "wrong-part")


def of_memory(op: str, reads: int, makes: int) -> Record:
    """An op that reads one memory and makes another."""
    meta = TensorMeta.of(torch.ones(7, 80))
    stage = stages.REDUCE if "reduce" in op else ""
    return Record(op, stage, None, (meta,), (None,), True, memory=(reads,), made=(makes,) if makes else ())


@pytest.mark.parametrize(
    ("ops", "unused"),
    [
        ((("vllm::all_reduce", 1, 2), ("aten::add", 2, 3)), False),
        ((("vllm::all_reduce", 1, 2), ("aten::add", 1, 3)), True),
        ((("aten::add", 2, 1), ("vllm::all_reduce", 1, 2), ("aten::add", 1, 3)), True),
        ((("c10d::allreduce_", 1, 1), ("aten::add", 1, 3)), False),
        ((("own::all_reduce_", 1, 0), ("aten::add", 1, 3)), False),
        ((("c10d::allreduce_", 2, 2), ("aten::add", 1, 3)), True),
        ((("_c10d_functional::all_reduce", 1, 2), ("_c10d_functional::wait_tensor", 2, 2), ("aten::add", 1, 3)), True),
        ((("_c10d_functional::all_reduce", 1, 2), ("_c10d_functional::wait_tensor", 2, 4), ("aten::add", 4, 3)), False),
    ],
)
def test_a_sum_is_used_where_a_later_op_reads_its_memory(ops: Any, unused: bool) -> None:
    call = Call("the trace", 7, (), output=torch.ones(7, 80), records=[of_memory(*one) for one in ops])
    found = collectives.look(Run(case=SMALL_TWO, mode="fake", ops=(), calls=[call]))
    assert [one.kind for one in found or ()] == ["sum-unused"] * unused


def test_a_sum_that_is_the_output_is_used_and_of_a_right_output_nothing_is_said() -> None:
    output = torch.ones(7, 80)
    records = [of_memory("vllm::all_reduce", 1, output.untyped_storage()._cdata)]
    call = Call("the trace", 7, (), output=output, records=records)
    assert collectives.look(Run(case=SMALL_TWO, mode="fake", ops=(), calls=[call])) == []
    assert judged(SumsWhatIsWhole, SMALL_TWO).status == OK
