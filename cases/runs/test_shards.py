"""Shards: even, stable when cases come and go, the same for every runner; and durations as they are read."""

import argparse
import random
from pathlib import Path

import pytest

from fixtures.runs import tasks
from harness.base.errors import BadInput
from harness.runs.durations import Durations
from harness.runs.planned import Task
from harness.runs.shards import Shard, assign, planned, shard, singly


def matrix(count: int = 400, seed: int = 0) -> dict[str, float]:
    """Durations as those of the real matrix: most are short, some a hundred times as long."""
    made = random.Random(seed)
    return {f"unit {number}": made.choice((0.05, 0.1, 0.3, 4.0)) * made.uniform(0.7, 1.3) for number in range(count)}


def loads(units: dict[str, float], of: int) -> list[float]:
    placed = assign(units, of)
    return [sum(units[name] for name, number in placed.items() if number == one) for one in range(1, of + 1)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("of", [1, 2, 8])
def test_shards_take_equally_long(seed: int, of: int) -> None:
    found = loads(matrix(seed=seed), of)
    assert min(found) >= 0.8 * max(found)


def test_hashes_alone_would_not_be_even() -> None:
    placed = loads(dict.fromkeys(map(str, range(12)), 1.0), 8)
    assert max(placed) <= 2.0  # one too many at most, where a hash gives some shard three or four


def test_each_task_is_in_one_shard_whatever_the_order() -> None:
    units = matrix()
    placed = assign(units, 8)
    assert placed == assign(dict(sorted(units.items(), reverse=True)), 8)
    assert placed.keys() == units.keys()
    assert set(placed.values()) == set(range(1, 9))


def test_most_stay_where_they_are_when_a_case_comes_or_goes() -> None:
    units = matrix()
    before = assign(units, 8)
    for change in ({name: units[name] for name in list(units)[1:]}, units | {"new": 3.0}):
        after = assign(change, 8)
        moved = sum(after[name] != before[name] for name in units.keys() & change.keys())
        assert moved < 0.2 * len(units)


def test_longest_first_alone_would_move_most() -> None:
    """What the hash is for: the plain rule of the same evenness deals nearly all of them out anew."""

    def plain(units: dict[str, float]) -> dict[str, int]:
        found, placed = [0.0] * 8, {}
        for name in sorted(units, key=lambda name: -units[name]):
            placed[name] = found.index(min(found))
            found[placed[name]] += units[name]
        return placed

    units = matrix()
    before, after = plain(units), plain(units | {"new": 3.0})
    assert sum(after[name] != before[name] for name in units) > 0.5 * len(units)


def test_tasks_that_share_a_process_stay_together() -> None:
    units = {f"op{number}": [Task("", f"op{number}", row) for row in ("runs", "stride")] for number in range(9)}
    made = planned(units, 3, Durations())
    assert all(len({made.shards[task] for task in unit}) == 1 for unit in units.values())


def test_durations_by_case_on_another_subject_then_by_mode() -> None:
    known = Durations({Task("in-tree", "a", "compiled"): 4.0, Task("in-tree", "b", "compiled"): 6.0})
    assert known.of(Task("in-tree", "a", "compiled")) == 4.0
    assert known.of(Task("mine", "a", "compiled")) == 4.0
    assert known.of(Task("mine", "new", "compiled")) == 5.0
    assert known.of(Task("mine", "new", "eager")) == 1.0


def test_a_durations_file_gives_the_same_shards_everywhere(tmp_path: Path) -> None:
    known = Durations({task: 1.0 + number for number, task in enumerate(tasks())})
    file = tmp_path / "durations.json"
    file.write_text(known.to_json(), "utf-8")
    read = Durations.read(file)
    assert read.hash == known.hash
    assert planned(singly(tasks()), 4, read) == planned(singly(tasks()), 4, Durations.read(file))
    assert known.with_measured([(tasks()[0], 99.0)]).hash != known.hash


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 9, "seconds": {}}', '{"format": 1, "seconds": {"a": {"b": 3}}}']
)
def test_a_file_that_holds_no_durations_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "durations.json"
    file.write_text(text)
    with pytest.raises(BadInput, match="holds no durations; expected a file that `harness merge --durations` wrote"):
        Durations.read(file)


def test_the_built_in_durations_are_of_the_matrix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from harness.matrix.selection import Selection

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    known = Durations.read(None).seconds
    asked = [Task("in-tree", case.id, mode.name) for case, mode in Selection().tasks()]
    assert sum(task in known for task in asked) > 0.9 * len(asked)


@pytest.mark.parametrize("of", [2, 4, 8])
def test_the_matrix_s_own_durations_make_even_shards(of: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the whole, and of the modes that compile, by the seconds of processor time that each task was measured to take."""
    from harness.matrix.selection import Selection

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    known = Durations.read(None)
    matrix = [Task("in-tree", case.id, mode.name) for case, mode in Selection().tasks()]
    shards = planned(singly(matrix), of, known)
    for chosen in (matrix, [task for task in matrix if task.mode.startswith("compiled")]):
        seconds = [sum(known.of(task) for task in chosen if shards.shards[task] == one) for one in range(1, of + 1)]
        assert min(seconds) >= 0.8 * max(seconds), seconds


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "1/0", "a/b", "1/8/2", "-1/8", "1/99999999"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected I/N"):
        shard(text)


def test_a_shard() -> None:
    assert shard("3/8") == Shard(3, 8)
    assert str(Shard(3, 8)) == "3/8"
