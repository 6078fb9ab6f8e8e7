"""``harness bench``: what is wrong is not timed, what cannot be timed is said, and bad input is one line."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from harness.benchmark.benchmark import Ceilings, Cell, timed
from harness.cli import main
from kernels.triton import tune
from kernels.triton.bench import SHAPES, cells
from kernels.triton.config import Sizes, Tiles, parse

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

    monkeypatch.setattr("harness.benchmark.timing.microseconds", microseconds)


@pytest.mark.usefixtures("clock")
def test_a_right_cell_is_timed_and_what_cannot_be_is_told() -> None:
    result = timed(cell(), CEILINGS)
    assert result.correct
    assert (result.times, result.floor) == ({"narrow": 12.0}, 5.0)
    assert result.lines() == ["small, 8 tokens: cannot was not timed: no such kernel"]
    assert result.to_json()["status"] == "ok"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("whole", "column"), [(0.011, 0.01), (0.003, 0.051), (float("nan"), 0.01), (0.003, float("nan"))]
)
def test_a_wrong_cell_is_not_timed_and_says_by_how_much(whole: float, column: float) -> None:
    result = timed(cell(whole, column), CEILINGS)
    assert not result.correct
    assert result.times == {}
    (line,) = result.lines()
    assert line.startswith(f"small, 8 tokens: wrong, and so not timed: relative error {whole:.4f} (bound 0.01)")
    assert result.to_json()["status"] == "wrong"


def test_the_floor_is_the_larger_of_both() -> None:
    assert Ceilings(1000.0, 1.0).floor(cell()) == 20.0


def test_shapes_are_those_of_the_models_file() -> None:
    assert {shape.hidden for shape in SHAPES.values()} == {2688, 2048, 7168, 2880}
    assert SHAPES["deepseek-v3 (32 of 256 experts)"].experts == 32


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
    from harness.base.errors import BadInput

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BadInput, match=r"the Triton kernel cannot be timed: .*[Tt]riton"):
        next(cells(torch.device("cpu"), ("gpt-oss-20b",), (1,)))


@pytest.mark.parametrize("tokens", [1, 8, 256, 4096])
@pytest.mark.parametrize("gated", [False, True])
def test_tuning_tries_tiles_that_fit_and_splits_columns_of_few_tokens_alone(tokens: int, gated: bool) -> None:
    sizes = Sizes(2880, 2880, 32, 4, gated)
    for bm in tune.blocks(sizes, tokens):
        tried = list(tune.candidates(bm, gated, tokens))
        assert len(tried) == len(set(tried)) > 3
        assert max(tiles.memory(bm, 2 if gated else 1) for tiles in tried) <= tune.SHARED
        assert (max(tiles.split for tiles in tried) > 1) == (tokens <= 8)


def test_the_table_keeps_what_was_tuned_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "tuned.json"
    table.write_text('{"64x48-e4-k2": {"8": [16, 64, 4, 3, 1, 64, 4, 3, 1]}}')
    monkeypatch.setattr(tune, "TABLE", table)
    config = parse([16, 128, 8, 2, 3, 64, 4, 3, 1])
    for tokens in (16, 1):
        tune.write(Sizes(64, 48, 4, 2, False), tokens, config)
    rows = json.loads(table.read_text())["64x48-e4-k2"]
    assert list(rows) == ["1", "8", "16"]
    assert parse(rows["1"]) == parse(rows["16"]) == config
    assert parse(rows["8"]).first == Tiles(64, 4, 3)
