"""``harness prove``, as a user types it."""

import re
from pathlib import Path

import pytest

from fixtures.recorded import results
from harness.cli import main
from harness.matrix.modes import PROOF
from harness.matrix.selection import Selection
from harness.matrix.shapes import ANY, load

pytestmark = pytest.mark.usefixtures("forked_python")

FEW = ["prove", "--models", "any-shared", "--rules", "trtllm-nvfp4", "--kernels", "wide", "--tp", "2", "-j", "1"]


def test_the_right_layer_is_proven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "proofs.jsonl"
    assert main([*FEW, "-v", "--exhaustive", "300", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "any-shared 1 proven" in out
    assert "any-shared, trtllm-nvfp4, wide kernel, tp 2: 0 of 65,535 fail, hidden 2 to 65,536" in out
    assert "region    every hidden size that is not a multiple of 256 (65,279): well" in out
    # torch 2.11 takes the width of a cut for a size of its own.
    assert re.search(r"must hold Eq\((hidden, u\d+\)|.*Min\(hidden, 256\*\(\(\(hidden \+ 255\)//256\)\)\))", out)
    assert "beyond    no size beyond fails" in out
    assert "0 of 299 real runs up to 300 fail, as proven" in out
    assert "1 combination: 1 proven; hidden 2 to 65,536;" in out
    (record,) = results(file)
    assert (record["status"], record["mode"], record["checks"]) == ("ok", "proof", ["proof"])
    assert (record["proof"]["status"], record["proof"]["count"], record["proof"]["total"]) == ("proven", 0, 65_535)


def test_a_failing_set_is_told_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--subject", "vllm#35949", "--exhaustive", "300"]) == 1
    out = capsys.readouterr().out
    among = "among them 2688 nemotron-3-nano-30b-a3b, 2880 synthetic-2880-shared"
    assert f"every hidden size that is not a multiple of 256: 65,279 of 65,535, {among}; at hidden 2688: add of" in out
    assert "vllm#35949 (fixed by vllm#40794)" in out
    assert "298 of 299 real runs up to 300 fail, as proven" in out
    assert "1 combination: 0 proven, 1 fail;" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--exhaustive", "-3"], "--exhaustive is -3; expected"),
        (["--models", "any-shard"], "unknown model 'any-shard'; did you mean"),
        (["--rules", "trtllm"], "unknown alignment rule 'trtllm'; did you mean"),
        (["--tokens", "3"], "unrecognized arguments: --tokens"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", *arguments]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_every_combination_is_in_the_plan() -> None:
    cases = [case for case, mode in Selection(modes=("proof",)).tasks() if mode is PROOF]
    assert len(cases) == len(ANY) * len(load().rules) * 2 * 2 == 96
    assert {(case.shared is None, case.latent is None) for case in cases} == {
        (left, right) for left in (True, False) for right in (True, False)
    }


def test_proofs_join_the_plan_where_they_are_asked_for() -> None:
    plan, both = Selection().tasks(), Selection(proofs=True).tasks()
    assert both[: len(plan)] == plan
    assert len(both) == len(plan) + 96
    assert not any(mode is PROOF for _, mode in plan)
    chosen = Selection(models=("gpt-oss-20b",), modes=("eager", "proof")).tasks()
    assert {(case.model, mode.name) for case, mode in chosen} == {("gpt-oss-20b", "eager"), ("gpt-oss-20b", "proof")}
