"""``harness bench``: what is wrong is not timed, what cannot be timed is said, and bad input is one line."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from harness.benchmark.benchmark import Apart, Ceilings, Cell, NotInstalled, Peer, timed
from harness.benchmark.timing import in_order
from harness.cli import main
from harness.commands.bench import lines, table
from kernels.triton import tune
from kernels.triton.bench import SHAPES, cells
from kernels.triton.config import Sizes, Tiles, parse

Name = TypeVar("Name")
CEILINGS = Ceilings(bandwidth=1000.0, rate=10.0)
Forms = Callable[[], Sequence[Peer]]


def cell(whole: float = 0.003, column: float = 0.01, **peers: Forms) -> Cell:
    calls = {"narrow": [torch.Tensor], "cannot": [torch.Tensor] * 2}
    return Cell("small", 8, calls, lambda: (whole, column), read=5000.0, operations=20.0, peers=peers)


def peer(form: str, calls: int, error: float = 0.004) -> Peer:
    return Peer(form, [torch.Tensor] * calls, lambda: (error, error))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that follow from the number of calls, and no graph for two calls."""

    def in_turn(named: Mapping[Name, Sequence[object]], replays: int) -> tuple[dict[Name, float], dict[Name, str]]:
        times = {name: 12.0 * len(calls) for name, calls in named.items() if len(calls) != 2}
        return times, dict.fromkeys(named.keys() - times, "no such kernel")

    monkeypatch.setattr("harness.benchmark.timing.in_turn", in_turn)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_each_column_follows_each_other_one_equally_often(count: int) -> None:
    names = [f"column {number}" for number in range(count)]
    turns = [in_order(names, turn) for turn in range(2 * count)]
    assert all(sorted(turn) == names for turn in turns)
    assert Counter(pair for turn in turns for pair in pairwise(turn)) == dict.fromkeys(permutations(names, 2), 2)


@pytest.mark.usefixtures("clock")
def test_the_fastest_right_form_of_a_peer_counts() -> None:
    forms = [peer("slow", 5), peer("fast", 3), peer("wrong", 1, error=0.02), peer("no graph", 2)]
    result = timed(cell(other=lambda: forms), CEILINGS)
    assert (result.times["other"], result.forms, result.errors) == (36.0, {"other": "fast"}, {"other": 0.004})
    assert result.best_peer == "other"
    assert "other" not in result.missing


@pytest.mark.usefixtures("clock")
def test_a_peer_whose_every_form_is_wrong_is_not_timed() -> None:
    result = timed(cell(other=lambda: [peer("wrong", 1, error=0.02)]), CEILINGS)
    assert "other" not in result.times
    assert result.missing["other"].startswith("wrong: relative error 0.0200 (bound 0.01)")


@pytest.mark.usefixtures("clock")
def test_a_peer_that_is_missing_or_raises_says_so_and_the_rest_is_timed() -> None:
    def absent() -> Sequence[Peer]:
        raise NotInstalled("pip install other")

    def broken() -> Sequence[Peer]:
        raise KeyError("block_shape")

    result = timed(cell(absent=absent, broken=broken), CEILINGS)
    assert result.times == {"narrow": 12.0}
    assert result.best_peer == ""
    assert result.missing["absent"] == "not installed: pip install other"
    assert result.missing["broken"] == "KeyError: 'block_shape'"


@pytest.mark.usefixtures("clock")
def test_a_kernel_of_other_arithmetic_is_timed_by_its_own_bounds_and_is_no_best_peer() -> None:
    fast = replace(peer("fp8", 1, error=0.02), bounds=(0.03, 0.1))
    one = replace(cell(other=lambda: [peer("slow", 5)]), apart={"W4A8": Apart("fp8 rows", lambda: [fast])})
    result = timed(one, CEILINGS)
    assert (result.times["W4A8"], result.errors["W4A8"], result.best_peer) == (12.0, 0.02, "other")
    assert result.to_json()["apart"] == {"W4A8": "fp8 rows"}
    assert timed(replace(one, peers={}), CEILINGS).best_peer == ""
    assert timed(one.alone(), CEILINGS).times == {"narrow": 12.0}
    wrong = replace(one, apart={"W4A8": Apart("fp8 rows", lambda: [replace(fast, bounds=(0.01, 0.1))])})
    assert timed(wrong, CEILINGS).missing["W4A8"].startswith("wrong: relative error 0.0200 (bound 0.01)")


@pytest.mark.usefixtures("clock")
def test_its_column_is_the_last_and_a_line_says_what_it_computes() -> None:
    def absent() -> Sequence[Peer]:
        raise NotInstalled("pip install fp8")

    one = replace(cell(other=lambda: [peer("slow", 5)]), apart={"W4A8": Apart("fp8 rows", absent)})
    results = [timed(one, CEILINGS)]
    headers = [str(column.header) for column in table(results).columns]
    assert headers[:4] == ["shape", "tokens", "narrow", "other"]
    assert headers[-4:] == ["x best peer", "error", "column", "W4A8"]
    assert lines(results)[0] == "W4A8 computes something else, and is compared with nothing: fp8 rows"
    assert "small, 8 tokens: W4A8 was not timed: not installed: pip install fp8" in lines(results)


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
        (["--replays", "0"], "--replays is 0; expected 1 or more"),
        (["--shapes", "gpt-os"], "unknown shape 'gpt-os'; did you mean gpt-oss-20b?\n"),
    ],
    ids=["no-cuda", "no-number", "no-token", "no-replay", "no-shape"],
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
