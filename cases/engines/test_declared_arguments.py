"""Arguments that a body takes are found by turning round what it asks; a stub kernel gives what a body unpacks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.audit.calling.calls import own_memory_fits
from harness.audit.making.asked import Asked, asking, traced
from harness.audit.making.samples import made_up
from harness.audit.making.search import Search
from harness.audit.registrations import observe
from harness.engines.declared.running.kernels import Kernels

NARROW = (torch.int8, torch.float8_e4m3fn)


def ranks(x: Tensor, weight: Tensor) -> Tensor:
    _, heads, _, size = x.shape
    if weight.shape != (heads, size):
        raise ValueError("weight must have the heads of x")
    return x * weight[:, None, :]


def multiples(x: Tensor, group: int) -> Tensor:
    tokens, hidden = x.size()
    assert hidden % group == 0
    assert hidden // group >= 24 > 0 or group > 40
    return x.view(tokens, -1, group)


def dtypes(x: Tensor, scale: Tensor, out_dtype: torch.dtype) -> Tensor:
    if x.dtype is not torch.float16 or x.dtype == scale.dtype:
        raise TypeError(f"float16 is needed, not {x.dtype}")
    assert out_dtype in NARROW
    return x.to(out_dtype)


def predicate(x: Tensor, y: Tensor) -> bool:
    return x.ndim == 5 and y.dim() == 3 and x.shape[-1] == y.shape[0] * 2 and x.dtype == torch.float64


def hidden_in_a_helper(x: Tensor, y: Tensor) -> Tensor:
    if not predicate(x, y):
        raise RuntimeError("invalid input for it")
    return x


def named(x: Tensor, backend: str) -> Tensor:
    if backend not in ("trtllm", "cutlass_mx"):
        raise ValueError(f"unknown {backend!r}; supported backends: cutlass_mx, trtllm")
    return x


def in_groups(input: Tensor, weight: Tensor, offs: Tensor) -> Tensor:
    out, start = torch.zeros(input.size(0), weight.size(2), dtype=input.dtype), 0
    for group, end in enumerate(offs.tolist()):
        if start != end:
            out[start:end] = torch.mm(input[start:end], weight[group])
            start = end
    return out


def by_one_of_many(rows: Tensor, weight: Tensor) -> Tensor:
    return torch.mm(rows[:2], weight[0].t())


def tries(body: Callable[..., Any], most: int = 60) -> dict[str, Any] | None:
    """The first arguments that a body takes."""
    schema = torch._C.parse_schema(f"op{torch.library.infer_schema(body, mutates_args=())}")
    search = Search(schema, body, lambda _: False)
    for _ in range(most):
        asked, given = Asked(), search.given
        try:
            with partial(asking, asked)(given):
                body(**traced(given))
        except Exception as error:
            search.refused(error, asked)
            continue
        return given
    return None


@pytest.mark.parametrize(
    "body",
    [ranks, multiples, dtypes, hidden_in_a_helper, named, in_groups, by_one_of_many],
    ids=lambda one: str(one.__name__),
)
def test_a_body_that_asks_for_much_gets_what_it_asks_for(body: Callable[..., Any]) -> None:
    given = tries(body)
    assert given is not None
    body(**given)  # without the numbers that know where they come from


def test_what_was_drawn_in_vain_is_put_back_and_sizes_vary_together() -> None:
    def body(x: Tensor, weight: Tensor, other: Tensor, flag: bool) -> Tensor:
        return x

    schema = torch._C.parse_schema(f"op{torch.library.infer_schema(body, mutates_args=())}")
    search = Search(schema, body, lambda _: False)
    first = {name: value for name, value in search.given.items() if name != "x"}
    for _ in range(30):  # refused whatever is given: every argument is drawn
        search.refused(RuntimeError("no text that helps"), Asked())
    kept = []
    while not search.done:
        given = search.given
        if given["x"].dim() == 2:
            kept += [given] if search.took() else []
        else:
            search.refused(RuntimeError("no text that helps"), Asked())
    assert all(kept[0][name] is value for name, value in first.items())
    resized = [given for given in kept if given["weight"].shape == (384, 512)]
    assert {given["other"].shape[-1] for given in resized} == {512}
    assert {given["flag"] for given in kept} == {True, False}


def test_what_no_arguments_satisfy_is_given_up() -> None:
    def never(x: Tensor) -> Tensor:
        raise RuntimeError("no such machine")

    assert tries(never, most=8) is None


def test_numbers_of_a_shape_work_as_those_of_torch() -> None:
    x = torch.ones(4, 6)
    asked = Asked()
    with asking(asked, {"x": x}):
        assert list(x.shape) == [4, 6]
        assert x.shape == torch.ones(4, 6).shape
        assert x.shape != (*x.shape, 1)
        assert torch.empty(x.shape[0] // 2, *x.shape[1:]).shape == (2, 6)
        assert x.view(torch.Size(x.shape).numel() // 6, -1).shape == x.shape
    compared = [one for one in asked.questions if one.kind == "compared"]
    assert {leaf[:2] for one in compared for leaf in one.terms if isinstance(leaf, tuple)} >= {
        ("size", "x"),
        ("rank", "x"),
    }


def test_a_stub_kernel_gives_as_many_results_as_are_unpacked() -> None:
    first, second, third = Kernels().launch(torch.ones(2))
    assert all(isinstance(one, Kernels) for one in (first, second, third))
    assert list(Kernels()) == []
    assert isinstance(torch.abs(first) * 2 + third[0], Kernels)


def indexed(key: Tensor, cache: Tensor, slot_mapping: Tensor) -> Tensor:
    copied = cache.clone()
    for row, slots in enumerate(slot_mapping):
        for column, slot in enumerate(slots):
            copied[slot.item(), 0, :, :] = key[row, column, :, :]
    return copied


def left_at_its_default(x: Tensor, groups: int = 1) -> Tensor:
    assert groups > 1
    return x


def test_an_index_asks_for_a_rank_and_a_length() -> None:
    given = tries(indexed)
    assert given is not None
    assert indexed(**given).dim() == 4


def test_a_number_that_is_left_at_its_default_is_changed_where_it_is_asked_for() -> None:
    given = tries(left_at_its_default)
    assert given is not None
    assert given["groups"] > 1


def test_arguments_for_which_an_op_returns_no_tensor_show_nothing() -> None:
    def gradients(x: Tensor, mask: list[bool]) -> tuple[Tensor | None, Tensor | None]:
        return (x.clone() if any(mask) else None), None

    with torch.library._scoped_library("made_up_masks", "DEF") as lib:
        lib.define("gradients(Tensor x, bool[] mask) -> (Tensor?, Tensor?)")
        lib.define("none(Tensor x, bool[] mask) -> (Tensor?, Tensor?)")
        observe()
        lib.impl("gradients", gradients, "CPU")
        lib.impl("none", lambda x, mask: (None, None), "CPU")
        found, reason = made_up(torch.ops.made_up_masks.gradients.default)
        assert all(any(one.args[1]) for one in found)
        assert not reason
        assert made_up(torch.ops.made_up_masks.none.default) == (
            [], "it refuses all arguments that the harness makes up: NoTensor: it returns no tensor"
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:An output with one or more elements")
def test_sizes_that_do_not_fit_the_ops_own_output_are_refused_and_mended() -> None:
    def into(grad: Tensor, weight: Tensor, input: Tensor) -> Tensor:
        out = torch.zeros_like(input)
        result: Tensor = torch.mm(grad, weight.t(), out=out[:])
        return result

    def writes(out: Tensor, grad: Tensor) -> None:
        torch.neg(grad, out=out)

    with torch.library._scoped_library("made_up_outs", "DEF") as lib:
        lib.define("into(Tensor grad, Tensor weight, Tensor input) -> Tensor")
        lib.define("writes(Tensor(a!) out, Tensor grad) -> ()")
        observe()
        lib.impl("into", into, "CPU")
        lib.impl("writes", writes, "CPU")
        found, _ = made_up(torch.ops.made_up_outs.into.default)
        assert found
        assert all(one.args[2].shape[-1] == one.args[1].shape[0] for one in found)
        with own_memory_fits(torch.ops.made_up_outs.writes.default):  # an argument may be given to be resized
            torch.ops.made_up_outs.writes(torch.ones(2), torch.ones(3))
