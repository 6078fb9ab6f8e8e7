"""Declarations that this machine does not run, and fakes that take any arguments."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.engines.declared.engines.vllm_hooks import GROUP
from harness.engines.declared.rows import EMPTY, side
from harness.engines.declared.running import kernels, registered
from harness.engines.declared.running.capture import Captured
from harness.engines.declared.running.registered import faked
from harness.engines.declared.running.unrun import read
from harness.engines.declared.samples.table import Fitted, _made_up
from harness.engines.declared.source.scan import Declared, declarations
from harness.engines.declared.source.schema import Schema, infer

OTHER_PLATFORM = """
import torch
from helpers import register_custom_op, direct_register_custom_op

def body(x: torch.Tensor) -> torch.Tensor:
    return x.relu()

if torch.__version__ == "another platform":
    @register_custom_op(op_name="by_lambda", fake_impl=lambda x: x.new_empty(3))
    def by_lambda(x: torch.Tensor) -> torch.Tensor:
        return x[:3]

    @register_custom_op(op_name="like_an_argument", out_shape="y", mutates_args=["x"])
    def like_an_argument(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y + x.zero_()

    @register_custom_op(op_name="without", mutates_args=[])
    def without(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    direct_register_custom_op(op_name="called", op_func=body, fake_impl=lambda x: torch.empty_like(x))
"""
HELPERS = "register_custom_op = direct_register_custom_op = None\n"


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Declared]]:
    package = tmp_path / "elsewhere"
    package.mkdir()
    (package / "ops.py").write_text(OTHER_PLATFORM)
    (package / "__init__.py").touch()
    (tmp_path / "helpers.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import_module("elsewhere.ops")
    yield {one.op: one for one in declarations(package)}
    for name in ("elsewhere.ops", "elsewhere", "helpers"):
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("op", "shape", "mutates"),
    [("by_lambda", [3], ()), ("like_an_argument", [5, 2], ["x"]), ("called", [7, 2], ()), ("without", None, [])],
)
def test_a_declaration_for_another_platform_has_the_fake_that_it_is_given(
    op: str, shape: list[int] | None, mutates: Any, declared: dict[str, Declared]
) -> None:
    recorded = read(declared[op], list(declared.values()))
    assert recorded is not None
    given = (torch.ones(7, 2), torch.ones(5, 2))[: 2 if op == "like_an_argument" else 1]
    assert (None if recorded.fake is None else [*recorded.fake(*given).shape]) == shape
    assert recorded.mutates == mutates


def like_named(*args: Any, **kwargs: Any) -> Tensor:
    assert not args
    return torch.empty_like(kwargs["x"])


def test_a_fake_of_any_arguments_is_given_all_of_them() -> None:
    here = Declared("like", True, "here.py", 1, 1, "")
    captured = Captured(here, like_named, like_named)
    assert faked(captured, {"layer_id": 3, "x": torch.ones(5, 2)}).shape == (5, 2)


@pytest.mark.parametrize(("rows", "is_empty"), [((0, 0), True), ((0, 3), False), ((3,), False)])
def test_samples_that_are_all_empty_are_said_to_be(rows: tuple[int, ...], is_empty: bool) -> None:
    fitted = Fitted([(str(count), {"x": torch.ones(count, 2)}) for count in rows], "real", True)
    notes = side({"side": fitted.side, "made_up": True, "opaque": False, "empty": fitted.empty})
    assert (EMPTY in notes) == is_empty


def test_a_collective_of_the_stand_in_counts_as_a_kernel() -> None:
    before = kernels.launches()
    with kernels.running({}, lambda name: False):
        GROUP.all_reduce(torch.ones(3))
        GROUP._all_to_all_single(torch.ones(3), torch.ones(3))
    assert kernels.launches() == before + 2


def handed_on(x: Tensor, y: Tensor) -> Any:
    return kernels.Kernels().bmm(x, y)


def fake_of_batches(x: Tensor, y: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], y.shape[2])


def test_where_the_body_hands_its_arguments_on_the_fake_says_which_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "(Tensor x, Tensor y) -> Tensor"
    monkeypatch.setitem(registered.SCHEMAS, "handed_on", Schema(text, "", ()))
    captured = Captured(Declared("handed_on", True, "here.py", 1, 1, ""), handed_on, fake_of_batches, key="handed_on")
    monkeypatch.setattr(registered, "CAPTURED", [captured])
    fitted = _made_up(captured)
    assert fitted.opaque
    assert all(faked(captured, given).dim() == 3 for _, given in fitted.samples)


def test_a_return_of_a_function_inside_is_not_the_body_s() -> None:
    def nothing(x: Tensor):  # type: ignore[no-untyped-def]  # noqa: ANN202
        def padded(size: int) -> int:
            return size + 1

        x.fill_(padded(2))

    def something(x: Tensor):  # type: ignore[no-untyped-def]  # noqa: ANN202
        if x.dim():
            return x + 1

    assert infer(nothing, ("x",)).text == "(Tensor(a0!) x) -> ()"
    assert infer(something, ()).text == "(Tensor x) -> Tensor[]"


@pytest.mark.parametrize("out", [[torch.ones(2)], (torch.ones(2),)])
def test_a_list_for_one_tensor_is_said_in_words(out: Any) -> None:
    one = Schema("(Tensor x) -> Tensor", "", ())
    with pytest.raises(TypeError, match=r"its fake returns a \w+ of 1, and the declaration says one tensor"):
        registered._as_in_schema(out, one, "its fake")
    assert registered._as_in_schema(out[0], one, "its fake") is out[0]
