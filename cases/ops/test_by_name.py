"""A fake that takes its arguments by name, and a schema that is read from the real implementation."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.ops.by_name import by_name
from harness.ops.registry import register_op, sources
from harness.ops.signatures import signature_mismatch

SCHEMA = "(Tensor x, str kind, SymInt width=4, *, Tensor? shared=None) -> Tensor"


def _fake(width: int, x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], width)


@register_op("cases_by_name::widen", fake=by_name(_fake), devices=("cpu",))
def widen(x: Tensor, kind: str, width: int = 4, *, shared: Tensor | None = None) -> Tensor:
    return torch.nn.functional.pad(x, (0, width - x.shape[1]))


def test_the_schema_is_read_from_the_function() -> None:
    assert widen.schema == SCHEMA
    assert str(widen.overload._schema) == "cases_by_name::widen" + SCHEMA


@pytest.mark.parametrize(("arguments", "width"), [(("a",), 4), (("a", 7), 7)])
def test_the_fake_gets_what_it_names_and_the_schemas_defaults(arguments: tuple[Any, ...], width: int) -> None:
    with FakeTensorMode() as mode:
        assert widen(mode.from_tensor(torch.zeros(2, 3)), *arguments).shape == (2, width)
    assert widen(torch.zeros(2, 3), *arguments).shape == (2, width)


def test_it_gets_arguments_that_are_given_by_keyword() -> None:
    fake = by_name(lambda shared, kind: (shared, kind)).bind(SCHEMA)
    assert fake(1, "a", shared=3) == (3, "a")
    assert fake(1, "a") == (None, "a")


def test_torch_itself_accepts_it() -> None:
    checked = torch.library.opcheck(
        widen.overload, (torch.zeros(2, 3), "a", 5), test_utils=("test_schema", "test_faketensor")
    )
    assert set(checked.values()) == {"SUCCESS"}


def test_an_argument_that_the_schema_lacks_is_refused_where_the_op_is_defined() -> None:
    with pytest.raises(TypeError, match="takes widht; its schema names x, kind, width, shared"):
        by_name(lambda x, widht: x).bind(SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "missing a required"), ((1,), "missing a required"), ((1, "a", 4, 5, 6), "too many positional")],
)
def test_a_call_that_does_not_fit_the_schema_is_a_type_error(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeError, match=rf"_fake\(\) called with {message} argument.*it takes x, kind, width, shared"):
        by_name(_fake).bind(SCHEMA)(*arguments)


def test_it_fits_its_own_schema_and_no_other() -> None:
    assert signature_mismatch(widen.overload) == ""
    old = by_name(lambda x: x).bind("(Tensor x, str kind) -> Tensor")
    with widen.planted(fake=old):
        assert "its fake implementation does not take the schema's arguments" in signature_mismatch(widen.overload)
    other = by_name(lambda x: x).bind(SCHEMA.replace("=4", "=5"))
    with widen.planted(fake=other):
        assert (
            signature_mismatch(widen.overload)
            == "its fake implementation has 5 as the default of 'width'; its schema has 4"
        )


def test_a_fake_without_the_mark_must_take_every_argument() -> None:
    with widen.planted(fake=_fake):
        assert signature_mismatch(widen.overload).startswith(
            "its fake implementation does not take the schema's arguments"
        )


def test_compiled_code_is_keyed_by_the_text_of_the_fake_itself() -> None:
    assert inspect.getsource(_fake) in sources("cases_by_name::widen")
