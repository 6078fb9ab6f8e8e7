"""The notes of the row ``schema``: a number that a trace fixes, and a dtype, which is no such number."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.audit.checks.schema import schema
from harness.audit.context import AuditedOp
from harness.audit.ops import find


@pytest.fixture
def lib() -> Iterator[torch.library.Library]:
    with torch.library._scoped_library("schema_notes", "DEF") as library:
        yield library


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("Tensor x, ScalarType out_dtype", ""),
        ("Tensor x, ScalarType? out_dtype, Layout? layout=None, MemoryFormat? order=None", ""),
        ("Tensor x, ScalarType out_dtype, int groups", "groups: `int` in the schema"),
        ("Tensor x, SymInt groups", ""),
    ],
)
def test_a_number_is_named_and_a_dtype_is_not(
    lib: torch.library.Library, arguments: str, named: str, tmp_path: Path
) -> None:
    lib.define(f"product({arguments}) -> Tensor")
    lib.impl("product", lambda x, *more: x * 2, "CPU")
    op = AuditedOp.of(find("schema_notes::product"), [], torch.device("cpu"), tmp_path / "journal.jsonl")
    notes = [note for note in schema(op).notes if "specialises" in note]
    assert [note.startswith(named) for note in notes] == ([True] if named else [])
