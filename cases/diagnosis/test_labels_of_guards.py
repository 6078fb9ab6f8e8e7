"""What a recompilation's guard is on: rows, or a size that no name calls a width; and what the log has that fixes all sizes."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis, Report
from harness.diagnosis.render import rendered

LIMIT = (
    "W1117 03:40:55.1 7 torch/_dynamo/convert_frame.py:1994] [0/8] torch._dynamo hit config.recompile_limit (8)\n"
    "W1117 03:40:55.1 7 torch/_dynamo/convert_frame.py:1994] [0/8]    function: 'forward' (/data/vision/{file}.py:41)\n"
    "W1117 03:40:55.1 7 torch/_dynamo/convert_frame.py:1994] [0/8]    last reason: 0/7: tensor '{name}' {what} mismatch at index "
    "{index}. expected {want}, actual {got}\n"
)


def report_of(
    name: str, index: int, want: int, got: int, what: str = "size", before: str = "", file: str = "net"
) -> Report:
    text = before + LIMIT.format(name=name, index=index, want=want, got=got, what=what, file=file)
    return diagnose(io.BytesIO(text.encode()), "x")


def labels(report: Report) -> list[str]:
    lines = ["".join(part for _, part in line) for line in rendered(report)]
    return [line.split()[0] for line in lines if line.startswith(("   width", "   rows", "   size"))]


def only(report: Report) -> Diagnosis:
    (one,) = report.failures
    return one


@pytest.mark.parametrize("name", ["images", "x", "hidden_states", "batch"])
def test_dimension_0_counts_rows(name: str) -> None:
    assert labels(report_of(name, 0, 40, 48)) == ["rows", "rows"]


@pytest.mark.parametrize("what", ["size", "stride"])
def test_another_dimension_is_no_width_by_its_place(what: str) -> None:
    assert labels(report_of("images", 2, 224, 320, what)) == ["size", "size"]


def test_images_are_a_batch_and_no_tokens() -> None:
    denied = " ".join(only(report_of("images", 0, 40, 48)).against)
    assert "not on a batch's rows" not in denied
    assert "images is no activation of a layer by its name" in denied


SETTINGS = ("torch.compile(model, dynamic=False)", "torch._dynamo.config.automatic_dynamic_shapes = False")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["x", "hidden_states"])
def test_a_setting_that_fixes_sizes_is_named(name: str, setting: str) -> None:
    cause = only(report_of(name, 0, 40, 48, before=f"run.py: {setting}, batch 1..256\n")).cause
    assert "no size becomes dynamic" in cause
    assert "dynamic=False" in cause or "automatic_dynamic_shapes" in cause
    assert (
        "no size becomes dynamic" not in only(report_of(name, 0, 40, 48, before="torch.compile(dynamic=True)\n")).cause
    )


def test_hidden_states_of_another_model_may_be_samples() -> None:
    other, ours = only(report_of("hidden_states", 0, 40, 48)), only(report_of("hidden_states", 0, 40, 48, file="moe"))
    assert (other.verdict, ours.verdict) == ("undecided", "family")
    assert "tokens or of samples" in other.cause
