"""``harness bench``: what is wrong is not timed, what cannot be timed is said, and bad input is one line."""

from collections.abc import Sequence

import pytest
import torch

from harness.benchmark import Ceilings, Cell, timed
from harness.cli import main
from kernels.bench import SHAPES, cells

CEILINGS = Ceilings(bandwidth=1000.0, rate=10.0)


def cell(whole: float = 0.003, column: float = 0.01) -> Cell:
    calls = {"narrow": [torch.Tensor], "cannot": [torch.Tensor] * 2}
    return Cell("small", 8, calls, lambda: (whole, column), read=5000.0, operations=20.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def microseconds(calls: Sequence[object]) -> float:
        if len(calls) == 2:
            raise RuntimeError("no such kernel\nand more")
        return 12.0

    monkeypatch.setattr("harness.timing.microseconds", microseconds)


@pytest.mark.usefixtures("clock")
def test_a_right_cell_is_timed_and_what_cannot_be_is_told() -> None:
    result = timed(cell(), CEILINGS)
    assert result.right
    assert (result.times, result.floor) == ({"narrow": 12.0}, 5.0)
    assert result.words() == ["small, 8 tokens: cannot was not timed: no such kernel"]
    assert result.to_json()["status"] == "ok"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("whole", "column"), [(0.011, 0.01), (0.003, 0.051), (float("nan"), 0.01), (0.003, float("nan"))]
)
def test_a_wrong_cell_is_not_timed_and_says_by_how_much(whole: float, column: float) -> None:
    result = timed(cell(whole, column), CEILINGS)
    assert not result.right
    assert result.times == {}
    (line,) = result.words()
    assert line.startswith(f"small, 8 tokens: wrong, and so not timed: relative error {whole:.4f} (bound 0.01)")
    assert result.to_json()["status"] == "wrong"


def test_the_floor_is_the_larger_of_both() -> None:
    assert Ceilings(1000.0, 1.0).floor(cell()) == 20.0


def test_shapes_are_those_of_the_models_file() -> None:
    assert {shape.hidden for shape in SHAPES.values()} == {2688, 2048, 7168, 2880}
    assert SHAPES["deepseek-v3, 32 of 256 experts"].experts == 32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "sees no CUDA device here"),
        (["--tokens", "x"], "is not a list of whole numbers"),
        (["--tokens", "0"], "--tokens is 0; expected 1 or more"),
        (["--shapes", "gpt-os"], "unknown shape 'gpt-os'; did you mean gpt-oss-20b?\n"),
    ],
    ids=["no-cuda", "no-number", "no-token", "no-shape"],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_a_kernel_that_cannot_run_is_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.errors import BadInput

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BadInput, match=r"the Triton kernel cannot be timed: .*[Tt]riton"):
        next(cells(torch.device("cpu"), ("gpt-oss-20b",), (1,)))
