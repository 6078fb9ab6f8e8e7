"""The emulated capture: it replays what was recorded and nothing else, and refuses what a real one refuses."""

import copy
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness.execution.capture import OpGraph
from harness.execution.capture_rules import CaptureRefused
from harness.ops.registry import register_op

Function = Callable[..., Any]


@register_op("cases_capture::inner", "(Tensor x) -> Tensor", fake=torch.empty_like)
def inner(x: Tensor) -> Tensor:
    return x + 1


@register_op("cases_capture::both", "(Tensor x, Tensor(a!) y) -> (Tensor, Tensor)", fake=lambda x, y: (x, y))
def both(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    y.mul_(2)
    return x + y, inner(x)


def example(seed: int) -> Tensor:
    return torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)) - 0.5


def _tensors(out: Any) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else list(out)


def replayed(function: Function) -> list[Tensor]:
    """What a replay on other inputs gives, its buffers spoilt before."""
    graph, buffer = OpGraph(), example(0)
    outputs = _tensors(graph.capture(function, (buffer,)))
    for tensor in outputs:
        with torch.inference_mode():
            tensor.fill_(torch.nan if tensor.is_floating_point() else 99)
    buffer.copy_(example(1))
    graph.replay()
    return outputs


def _zero_a_column(x: Tensor) -> Tensor:
    out = x.clone()
    out[:, 2] = 0
    return out


def _double_a_part(x: Tensor) -> Tensor:
    out = x.clone()
    out.split(3, -1)[1].mul_(2)
    return out


def _put(x: Tensor) -> Tensor:
    return torch.zeros(4, 6).index_put((torch.arange(4), torch.arange(4)), x[:, 0])


REPLAYED: dict[str, Function] = {
    "pointwise": lambda x: (x * 2 + 1).relu(),
    "matmul": lambda x: x @ x.T,
    "linear": lambda x: functional.linear(x, x),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "in-place": lambda x: x.clone().add_(1).mul_(x),
    "in-place of a part": _double_a_part,
    "assignment": _zero_a_column,
    "a view": lambda x: x.t()[1:].reshape(-1) + 0,
    "a reshape that copies": lambda x: x.t().reshape(-1),
    "contiguous": lambda x: x.t().contiguous(),
    "a view of another dtype": lambda x: x.clone().view(torch.int32) + 0,
    "topk": lambda x: x.topk(2),
    "sort": lambda x: x.sort(-1),
    "max": lambda x: x.max(-1),
    "chunk": lambda x: [part + 1 for part in x.chunk(2, -1)],
    "chunk of a copy": lambda x: (x * 2).chunk(2, -1),
    "unbind": lambda x: sum(x.unbind(0)),
    "out": lambda x: torch.add(x, 1, out=torch.empty(4, 6)),
    "pad": lambda x: functional.pad(x, (0, 2)),
    "softmax": lambda x: x.softmax(-1),
    "gather": lambda x: x.gather(1, x.argsort(-1)),
    "index_select": lambda x: x.index_select(0, x[:, 0].argsort()),
    "index_put": _put,
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, 1.0),
    "empty and copy": lambda x: torch.empty_like(x).copy_(x),
    "conversion": lambda x: x.to(torch.bfloat16).float(),
    "conversion of nothing": lambda x: x.to(torch.float32).float() + 1,
    "a factory": lambda x: x + torch.arange(6) + torch.full((6,), 2.0),
    "foreach": lambda x: torch._foreach_add([x, x], 1),
    "a custom op": inner,
    "a custom op of two outputs": lambda x: both(x, x.clone()),
    "a custom op that writes": lambda x: (lambda y: both(x, y)[1] + y)(x * 3),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_a_replay_with_changed_inputs_gives_what_eager_gives(name: str) -> None:
    function = REPLAYED[name]
    expected, first = (_tensors(function(example(seed))) for seed in (1, 0))
    found = replayed(function)
    assert len(found) == len(expected)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert not all(torch.equal(ours, theirs) for ours, theirs in zip(found, first, strict=True))


def test_a_replay_with_numbers_as_index_gives_what_eager_gives() -> None:
    assert torch.equal(replayed(lambda x: x[x[:, 0].argsort()])[0], example(1)[example(1)[:, 0].argsort()])


def test_each_replay_starts_again() -> None:
    graph, buffer = OpGraph(), example(0)
    out = graph.capture(lambda x: x.clone().add_(1), (buffer,))
    for seed in (1, 2, 1):
        buffer.copy_(example(seed))
        graph.replay()
        assert torch.equal(out, example(seed) + 1)


def test_an_accumulator_goes_on_from_replay_to_replay() -> None:
    """As in a real graph: the capture executes nothing, and memory from outside keeps what the last replay left."""
    total = torch.zeros(4, 6)
    graph, buffer = OpGraph(), example(0)
    graph.capture(total.add_, (buffer,))
    graph.replay()
    graph.replay()
    assert torch.allclose(total, 2 * buffer)


def _mask_rows(x: Tensor) -> Tensor:
    return x[x > 0]


REFUSED: dict[str, tuple[Function, str]] = {
    ".item()": (lambda x: x * x.sum().item(), "_local_scalar_dense"),
    "float()": (lambda x: x * float(x.sum()), "_local_scalar_dense"),
    "int()": (lambda x: x * int(x.sum()), "_local_scalar_dense"),
    "bool()": (lambda x: x if x.sum() > 0 else -x, "_local_scalar_dense"),
    ".cpu()": (lambda x: x.cpu() + 1, ".cpu()"),
    '.to("cpu")': (lambda x: x.to("cpu") + 1, 'to("cpu")'),
    '.to(device="cpu")': (lambda x: x.to(device="cpu") + 1, 'to("cpu")'),
    ".tolist()": (lambda x: x * x[0].tolist()[0], ".tolist()"),
    ".numpy()": (lambda x: x * float(x.numpy().sum()), ".numpy()"),
    "numpy.asarray()": (lambda x: x * float(numpy.asarray(x).sum()), "numpy.asarray()"),
    "torch.tensor()": (lambda x: x + torch.tensor([1.0]), "torch.tensor()"),
    "torch.as_tensor()": (lambda x: x + torch.as_tensor([1.0]), "torch.as_tensor()"),
    "torch.from_numpy()": (lambda x: x + torch.from_numpy(numpy.ones(6)), "torch.from_numpy()"),
    "nonzero": (lambda x: x.nonzero(), "nonzero"),
    "masked_select": (lambda x: x.masked_select(x > 0), "masked_select"),
    "a mask as index": (_mask_rows, "index"),
    "unique": (lambda x: x.unique(), "unique"),
    "allclose": (lambda x: x * torch.allclose(x, x), "equal"),
    "repeat_interleave": (lambda x: torch.repeat_interleave(torch.full((2,), 3)), "repeat_interleave"),
    "one_hot": (lambda x: functional.one_hot(IDS), "num_classes"),
    "bincount": (lambda x: torch.bincount(REPEATS, minlength=4), "bincount"),
    "a mask that is written": (lambda x: x.index_put((MASK,), x.new_zeros(12)), "mask"),
    "a list as index": (lambda x: x[[0, 1]] + 1, "numbers"),
    "a number on the device": (lambda x: x + torch.as_tensor(2.0, device="cpu"), "torch.as_tensor()"),
}

# What a real capture takes, seen on an H100 with torch 2.11.
TAKEN: dict[str, Function] = {
    "one_hot": lambda x: functional.one_hot(IDS, 4) * x[:, :1, None],
    "repeat_interleave": lambda x: x.repeat_interleave(REPEATS, 0, output_size=4),
    "repeat_interleave of a number": lambda x: x.repeat_interleave(2),
    "histc": lambda x: x.histc(4, -1, 1),
    "nonzero_static": lambda x: torch.nonzero_static(x > 0, size=10),
    "a filled mask": lambda x: _filled(x.clone()),
    "masked_fill": lambda x: x.masked_fill(MASK, 0),
    "sort": lambda x: x.sort()[0],
    "topk": lambda x: x.topk(2)[0],
    "isin": lambda x: torch.isin(IDS, REPEATS) * x[:, :2],
    "a number on the host": lambda x: x + torch.tensor(1.0),
    "full": lambda x: x + torch.full((), 2.0, device="cpu"),
    "scatter_add": lambda x: x.scatter_add(0, IDS, x),
    "index_add": lambda x: x.index_add(0, REPEATS, x),
    "split": lambda x: x.split([1, 5], 1)[1] + 1,
    "tensor_split": lambda x: x.tensor_split(torch.ones(1, dtype=torch.int64), 1)[1] + 1,
    "copy to the host": lambda x: (x.to("cpu", non_blocking=True), x + 1)[1],
    "searchsorted": lambda x: torch.searchsorted(x.sort()[0], x),
    "arange": lambda x: x + torch.arange(6, device="cpu"),
    "cdist": lambda x: torch.cdist(x, x),
    "embedding": lambda x: functional.embedding(IDS, x),
    "_assert_async": lambda x: (torch._assert_async((x < 9).all()), x + 1)[1],
}
IDS = torch.tensor([[0, 1], [2, 3], [3, 0], [1, 2]])
REPEATS = torch.tensor([1, 0, 2, 1])
MASK = torch.arange(24).view(4, 6) % 2 == 0


def _filled(x: Tensor) -> Tensor:
    x[MASK] = 0
    return x


@pytest.mark.parametrize("inside", [False, True], ids=["in the layer", "in an op"])
@pytest.mark.parametrize("name", TAKEN)
def test_what_a_real_capture_takes_is_taken(name: str, inside: bool) -> None:
    function = TAKEN[name]
    with inner.planted(real=lambda x: function(x).clone()):
        found = replayed(inner if inside else function)[0]
    assert torch.equal(found, function(example(1)))


def test_an_answer_of_equal_is_fixed_at_the_capture() -> None:
    other = example(0)
    found = replayed(lambda x: x + 1 if torch.equal(x, other) else x - 1)[0]
    assert torch.equal(found, example(1) + 1)  # eager takes the other branch


def test_memory_of_inference_mode_is_replayed() -> None:
    assert torch.equal(replayed(torch.inference_mode()(lambda x: x * 2))[0], example(1) * 2)


@pytest.mark.parametrize("name", REFUSED)
def test_what_waits_for_the_device_or_depends_on_data_is_refused(name: str) -> None:
    function, says = REFUSED[name]
    with pytest.raises(CaptureRefused) as refused:
        OpGraph().capture(function, (example(0),))
    assert says.split("equal")[0] in str(refused.value)
    assert "in a capture" in str(refused.value)
    assert refused.value.line is not None
    assert refused.value.line.file.endswith("test_capture.py")


@pytest.mark.parametrize(
    "function",
    [lambda x: x + x.new_tensor([1.0]), lambda x: x + torch.asarray([1.0])],
    ids=["new_tensor", "asarray"],
)
def test_other_copies_from_the_host_are_refused(function: Function) -> None:
    with pytest.raises(CaptureRefused):
        OpGraph().capture(function, (example(0),))


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_inside_a_custom_op_too(name: str) -> None:
    function, _ = REFUSED[name]
    with inner.planted(real=function), pytest.raises(CaptureRefused) as refused:
        OpGraph().capture(lambda x: inner(x) + 1, (example(0),))
    assert refused.value.line is not None
    assert refused.value.line.file.endswith("test_capture.py")


@pytest.mark.parametrize("name", REFUSED)
def test_the_patches_are_undone(name: str) -> None:
    function, _ = REFUSED[name]
    names = ("cpu", "numpy", "tolist", "__array__", "to")
    kept = {name: vars(Tensor).get(name, "inherited") for name in names}
    made = torch.tensor, torch.as_tensor, torch.from_numpy
    with pytest.raises(CaptureRefused):
        OpGraph().capture(function, (example(0),))
    assert {name: vars(Tensor).get(name, "inherited") for name in names} == kept
    assert (torch.tensor, torch.as_tensor, torch.from_numpy) == made
    function(example(0))  # runs outside of a capture


def test_a_value_that_the_host_kept_is_stale_in_a_replay() -> None:
    kept: list[float] = []

    def function(x: Tensor) -> Tensor:
        return x * kept[0] if kept else x

    graph, buffer = OpGraph(), example(0)
    kept.append(2.0)
    out = graph.capture(function, (buffer,))
    kept[0] = 3.0
    graph.replay()
    assert torch.equal(out, buffer * 2)
    assert not torch.equal(out, function(buffer))


def test_a_tensor_that_the_first_call_kept_is_stale_in_a_replay() -> None:
    kept: list[Tensor] = []

    def function(x: Tensor) -> Tensor:
        if not kept:
            kept.append(x.clone())
        return x + kept[0]

    function(example(3))
    found = replayed(function)[0]
    assert not torch.equal(found, example(1) + example(1))
    assert torch.equal(found, example(1) + example(3))


def test_a_branch_of_the_host_is_not_taken_again() -> None:
    calls: list[int] = []

    def function(x: Tensor) -> Tensor:
        calls.append(1)
        return x + len(calls)

    assert torch.equal(replayed(function)[0], example(1) + 1)
    assert calls == [1]


def test_memory_that_nothing_writes_is_not_kept_from_the_capture() -> None:
    """A replay runs ``empty`` again: what the host put there is not put there again."""

    def function(x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        vars(function).setdefault("first", out.add_(1))
        return out

    assert torch.equal(replayed(function)[0], torch.ones(4, 6))


def test_the_inputs_are_only_read() -> None:
    buffer = example(0)
    OpGraph().capture(lambda x: inner(x) * 2, (buffer,))
    assert torch.equal(buffer, example(0))


def test_an_error_of_the_layer_is_its_own() -> None:
    with pytest.raises(RuntimeError, match="must match"):
        OpGraph().capture(lambda x: x + torch.zeros(5), (example(0),))
    assert torch.equal(copy.copy(example(0)).cpu(), example(0))
