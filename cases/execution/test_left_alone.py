"""What a correct layer of a rarer kind meets: half precision, ops inside branches, and the layer before it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.execution.modes.compiled import _names
from harness.execution.modes.varied.contents import _representable
from harness.execution.pinned import pinned
from harness.ops.registry import register_op

KEY = "PythonDispatcher"


@register_op("left_alone::twice", "(Tensor x) -> Tensor", fake=torch.empty_like)
def twice(x: Tensor) -> Tensor:
    """Twice a tensor."""
    return x * 2


def test_dispatch_keys_that_a_failed_compile_left_are_put_back() -> None:
    keys: Any = torch._C
    with pinned():
        keys._dispatch_tls_set_dispatch_key_included(KEY, True)
    assert not keys._dispatch_tls_is_dispatch_key_included(KEY)
    assert torch.ones(2).add(1).tolist() == [2, 2]


def test_an_op_inside_a_branch_is_an_op_of_the_graph() -> None:
    names: list[str] = []

    def backend(module: torch.fx.GraphModule, inputs: Any) -> Any:
        names.extend(_names(module))
        return module.forward

    def layer(x: Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda x: twice(x), lambda x: x + 1, (x,))

    torch._dynamo.reset()
    torch.compile(layer, backend=backend, fullgraph=True)(torch.ones(3))
    assert "left_alone::twice" in names


@pytest.mark.parametrize(
    ("largest", "dtype", "fits"),
    [(65_504.0, torch.float16, True), (65_600.0, torch.float16, False), (65_600.0, torch.bfloat16, True)],
)
def test_a_right_output_beyond_the_dtype_is_not_asked_for(largest: float, dtype: torch.dtype, fits: bool) -> None:
    assert _representable(torch.tensor([[0.0, -largest]]), dtype) is fits


def test_no_output_fits_every_dtype() -> None:
    assert _representable(torch.empty(0, 4), torch.float16)
