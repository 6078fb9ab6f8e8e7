"""Merging records: shards make one run, what is missing is named, and what cannot be read costs nothing else."""

import json
from pathlib import Path

import pytest

from fixtures.runs import finding, header, lines, tasks, verdict, write
from harness.cli import main
from harness.findings.finding import ERROR
from harness.runs.durations import Durations
from harness.runs.gathering import Gathering
from harness.runs.planned import Planned
from harness.runs.shards import Shard, planned, singly

EIGHT = planned(singly(tasks()), 8, Durations())


def shards(folder: Path, numbers: range = range(1, 9), batch: str = "") -> list[str]:
    """The files of these shards, each with a verdict for every task of its own."""
    files = []
    for number in numbers:
        run = header(EIGHT, Shard(number, 8), batch=batch)
        files.append(str(write(folder / f"{number}.jsonl", run, map(verdict, sorted(run.tasks)))))
    return files


def merged(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["merge", *arguments])
    output, errors = capsys.readouterr()
    assert "Traceback" not in errors
    return code, output + errors


@pytest.mark.parametrize("batch", ["", "night 7"])
def test_eight_shards_are_one_run(batch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "night.jsonl"
    code, text = merged(capsys, *shards(tmp_path, batch=batch), "-o", str(whole))
    assert (code, text.splitlines()[-1]) == (0, "8 runs, 120 results: 120 ok")
    gathering = Gathering([whole])
    assert sorted(one.task for one in gathering) == sorted(tasks())  # none lost, none twice
    (night,) = gathering.nights()
    assert len(night.runs) == 8
    assert merged(capsys, str(whole), str(whole), *shards(tmp_path))[0] == 0  # other runs of the same matrix


def test_the_same_file_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = shards(tmp_path, range(1, 2))
    text = merged(capsys, file, file)[1]
    assert f"1 runs, {len(EIGHT.of(1))} results" in text
    assert f"{file}: holds no record that is new" in text


def test_a_shard_that_never_began_is_named_with_its_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = merged(capsys, *shards(tmp_path, range(1, 8)))
    own = sorted(EIGHT.of(8))
    assert code == 2
    assert f"incomplete: shard 8/8 of harness check on cpu (no records of it): {len(own)} of {len(own)} missing" in text
    assert str(own[0]) in text


def test_a_shard_that_was_killed_is_named_with_what_it_owes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = header(EIGHT, Shard(3, 8))
    own = sorted(run.tasks)
    text = "".join(lines(run, map(verdict, own[:-2]), ended=False))
    (tmp_path / "3.jsonl").write_text(text + '{"record": "verdict", "subj')
    others = [*shards(tmp_path, range(1, 3)), *shards(tmp_path, range(4, 9))]
    code, output = merged(capsys, *others, str(tmp_path / "3.jsonl"))
    assert code == 2
    assert f"(killed, or still running): 2 of {len(own)} missing: {own[-2]}; {own[-1]}" in output
    assert "the last line is cut off" in output


def test_a_shard_run_again_elsewhere_makes_the_night_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead = write(tmp_path / "dead.jsonl", header(EIGHT, Shard(3, 8), batch="7"), [], ended=False)
    files = shards(tmp_path, batch="7")
    assert merged(capsys, str(dead), *files)[0] == 0
    assert merged(capsys, str(dead), *files[:2], *files[3:])[0] == 2


@pytest.mark.parametrize(
    ("made", "code"), [(verdict(tasks()[0], found=[finding()]), 1), (verdict(tasks()[0], ERROR, reason="broke"), 2)]
)
def test_exit_codes(made: object, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", header(Planned.whole(tasks()[:1])), [made])  # type: ignore[list-item]
    assert merged(capsys, str(file))[0] == code


def test_what_is_foreign_is_left_out_and_the_rest_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = shards(tmp_path, range(1, 2))
    foreign = [
        "nonsense",
        "[1]",
        '{"a": 1}',
        '{"record": "verdict", "case": 3}',
        '{"record": "later"}',
        "\x00",
        "9" * 9000,
    ]
    foreign += ["[" * 100_000, '{"record": "run", "format": 9}', '{"record": "run", "format": 3}', "\udcff"]
    with Path(file).open("a", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write("\n".join(foreign) + "\n")
    code, text = merged(capsys, file)
    assert code == 2  # the other shards are missing
    assert f"{len(EIGHT.of(1))} ok" in text
    assert f"line {len(EIGHT.of(1)) + 3} is left out: it is no JSON object (and {len(foreign) - 1} more lines)" in text


def test_records_of_older_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = verdict(tasks()[0], found=[finding()]).to_json()
    old.pop("format"), old.pop("fingerprint")
    old["again"] = old.pop("reproduce")
    file = tmp_path / "old.jsonl"
    file.write_text(json.dumps(old) + "\n" + json.dumps({**verdict(tasks()[1]).to_json(), "format": 2}) + "\n")
    code, text = merged(capsys, str(file))
    assert code == 1
    assert "1 runs, 2 results: 1 ok, 1 findings" in text


@pytest.mark.parametrize("content", ["", "\n\n", "nonsense\n"])
def test_a_file_without_records_is_bad_input(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "none.jsonl"
    file.write_text(content)
    code, text = merged(capsys, str(file))
    assert code == 2
    assert "no results, expected files that `harness check --json FILE` writes" in text
    assert text.count("\n") == 1


def test_what_cannot_be_read_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = shards(tmp_path, range(1, 2))
    assert "No such file" in merged(capsys, str(tmp_path / "none"))[1]
    assert "no regular file" in merged(capsys, str(tmp_path))[1]
    code, text = merged(capsys, file, "-o", file)
    assert (code, "is also the file of RECORDS" in text) == (2, True)


def test_durations_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    task = tasks()[0]
    file = write(tmp_path / "a.jsonl", header(Planned.whole([task])), [verdict(task, seconds=7.0)])
    assert merged(capsys, str(file), "--durations", str(tmp_path / "d.json"))[0] == 0
    assert Durations.read(tmp_path / "d.json").of(task) == 7.0
    assert merged(capsys, str(file), "--durations")[0] == 0
    assert Durations.read(None).of(task) == 7.0
