"""What a correct layer of a rarer kind meets: half precision, ops inside branches, and the layer before it."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from fixtures.judged import judged
from harness.execution.modes.compiled import _names
from harness.execution.modes.varied.contents import _beyond
from harness.execution.pinned import pinned
from harness.findings.finding import OK
from harness.ops.registry import register_op
from kernels.layer.layer import PaddedMoELayer

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


class _FunctionMode(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return function(*arguments, **(named or {}))


class _DispatchMode(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize(
    ("mode", "named"),
    [
        (_FunctionMode, "modes of torch functions"),
        (_DispatchMode, "modes of dispatch"),
        (torch.inference_mode, "inference"),
    ],
)
def test_a_mode_that_a_layer_leaves_on_is_told_and_not_met_by_the_next(mode: Any, named: str) -> None:
    left: list[Any] = []

    class Leaves(PaddedMoELayer):
        def pad(self, x: Tensor) -> Tensor:
            left.append(mode())
            left[-1].__enter__()
            return super().pad(x)

    (finding,) = judged(Leaves).findings
    assert finding.kind == "global-state"
    assert named in finding.what
    assert not torch.overrides._get_current_function_mode_stack()
    assert not _get_current_dispatch_mode_stack()
    assert judged(PaddedMoELayer).status == OK


def test_a_removed_folder_and_an_empty_environment_are_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path)

    class Removes(PaddedMoELayer):
        def pad(self, x: Tensor) -> Tensor:
            if (tmp_path / "gone").exists():
                os.chdir(tmp_path / "gone")
                (tmp_path / "gone").rmdir()
                os.environ.pop("CI", None)
            return super().pad(x)

    assert judged(Removes).status == OK
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    ("largest", "dtype", "where"),
    [
        (65_504.0, torch.float16, ""),
        (65_600.0, torch.float16, "above the largest"),
        (65_600.0, torch.bfloat16, ""),
        (1e-6, torch.float16, "below the smallest normal"),
        (1e-4, torch.float16, ""),
        (1e-6, torch.bfloat16, ""),
        (0.0, torch.float16, ""),
    ],
)
def test_a_right_output_beyond_the_dtype_is_not_asked_for(largest: float, dtype: torch.dtype, where: str) -> None:
    assert _beyond(torch.tensor([[0.0, -largest]]), dtype) == where


def test_no_output_fits_every_dtype() -> None:
    assert _beyond(torch.empty(0, 4), torch.float16) == ""
