"""Samples that do not fit the op, or never end: one line that says so, and no row that blames the op."""

from pathlib import Path

import pytest
import torch

from harness.audit import worker
from harness.audit.report import exit_code
from harness.audit.row import HOLDS, NO_VARIANT, NOT_RUN, Row
from harness.audit.samples import given
from harness.base.errors import BadInput

RELU = torch.ops.aten.relu.default
SOURCES = {
    "one-more": ("yield x(2), x(2)", "2 positional arguments in place of at most 1"),
    "unknown": ("yield (x(2),), {'factor': 2}", "an argument 'factor', which the op does not have"),
    "missing": ("yield ()", "no argument 'self'"),
    "endless": ("while True: yield (x(2),)", "more than 1,000 samples"),
    "number": ("yield 3", "yields a int"),
}


@pytest.mark.parametrize(("body", "named"), SOURCES.values(), ids=SOURCES)
def test_samples_that_cannot_be_used(body: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"bad_samples_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"from torch import ones as x\ndef some():\n    {body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInput) as refused:
        given(RELU, f"{name}:some", torch.device("cpu"))
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_survey_that_fails_blames_no_op() -> None:
    class Broken:
        def attempts(self, kind: str) -> None:
            raise KeyError(1)

    answer = worker._survey(Broken(), "as given")  # type: ignore[arg-type]
    assert not answer["accepted"]
    assert answer["reason"] == "the audit itself failed: KeyError: 1"


def test_variants_that_cannot_be_made_break_no_row() -> None:
    class Broken:
        samples = (RELU,)

        @property
        def accepted(self) -> None:
            torch.ones(2).view(3)

    result = worker.look_at(Broken(), "shape")  # type: ignore[arg-type]
    assert result.status == NOT_RUN
    assert "RuntimeError: shape '[3]' is invalid" in result.what


def test_a_variant_that_nothing_has_is_not_green() -> None:
    ran = Row(op="a::b", row="runs", status=HOLDS, what="the real implementation accepts 3 variants", reproduce="")
    none = Row(op="a::b", row="shape", status=NOT_RUN, what=f"{NO_VARIANT} 'nope'", reproduce="")
    some = Row(op="a::c", row="shape", status=HOLDS, what="on 3 outputs", reproduce="")
    assert [exit_code([ran, none]), exit_code([ran, none, some]), exit_code([ran])] == [2, 0, 0]
