"""What a history of nights says: new, fixed, changed, flaky, incomplete, no longer run."""

from pathlib import Path
from typing import Any

import pytest

from fixtures.nights import MODELS, RUNNERS, Task, Verdicts, all_ok, planted, run_record, tasks, three_nights, write_run
from harness.nightly.files import RecordsFile
from harness.nightly.history import History
from harness.nightly.ingest import Ingest
from harness.nightly.payload import Payload

RED: tuple[str, dict[str, Any]] = ("findings", {})
OTHER: tuple[str, dict[str, Any]] = ("findings", {"kind": "scaled", "stage": "output"})
OK: tuple[str, dict[str, Any]] = ("ok", {})
NONE: tuple[str, dict[str, Any]] = ("", {})


def overview(*files: Path, history: Path | None = None, nights: int = 14) -> dict[str, Any]:
    """The overview of the page of these files."""
    with History.opened(history or files[0].parent / "history.sqlite") as opened:
        ingest = Ingest(opened)
        for file in files:
            ingest.add(RecordsFile(file))
        return Payload(opened, nights).make()[0]


def changes(seen: dict[str, Any]) -> dict[str, int]:
    """How many cases have each change."""
    sums = zip(seen["changes"], *seen["cells"]["changes"], strict=True)
    return {name: sum(counts) for name, *counts in sums if sum(counts)}


def one(folder: Path, *nights: tuple[str, dict[str, Any]], **run: Any) -> dict[str, Any]:
    """The overview of one task that has these verdicts on the nights of one runner."""
    files = []
    for night, verdict in enumerate(nights):
        chosen = list(tasks("h100-newest", night, MODELS[:1], (1,)))[:1]
        record = run_record("h100-newest", night, chosen, **run)
        files.append(write_run(folder / f"{night}.jsonl", record, chosen, lambda task, verdict=verdict: verdict))
    return overview(*files)


@pytest.mark.parametrize(
    ("nights", "change"),
    [
        ((OK, RED), {"new": 1}),
        ((RED, OK), {"fixed": 1}),
        ((RED, RED), {"same": 1}),
        ((RED, OTHER), {"changed": 1}),
        ((OK, OK), {}),
        ((RED,), {"same": 1}),
        ((OK, NONE), {"incomplete": 1}),
        ((RED, NONE, RED), {"same": 1}),  # the night between has no result, and so says nothing
        ((OK, NONE, RED), {"new": 1}),
        ((NONE, RED), {"first": 1}),
        ((RED, ("skipped", {"reason": "no device"})), {}),  # not run is not fixed
        ((OK, ("error", {"reason": "out of memory"})), {"new": 1}),
        ((RED, ("waived", {"waiver": "vllm#1"})), {}),
    ],
)
def test_the_change_of_a_case(
    nights: tuple[tuple[str, dict[str, Any]], ...], change: dict[str, int], tmp_path: Path
) -> None:
    assert changes(one(tmp_path, *nights)) == change


def test_flaky_is_both_verdicts_on_one_commit_in_one_environment(tmp_path: Path) -> None:
    assert changes(one(tmp_path, OK, RED, commit="abc")) == {"flaky": 1}


@pytest.mark.parametrize("commit", ["", "abc+", "abc-dirty"])
def test_code_that_is_not_known_is_not_flaky(commit: str, tmp_path: Path) -> None:
    assert changes(one(tmp_path, OK, RED, commit=commit)) == {"new": 1}


def test_an_environment_that_changed_is_beside_the_new_finding_and_not_flaky(tmp_path: Path) -> None:
    files = []
    for night, verdict in enumerate((OK, RED)):
        chosen = list(tasks("h100-newest", night, MODELS[:1], (1,)))
        environment = RUNNERS["h100-newest"] | {"torch": f"2.{12 + night}.0"}
        run = run_record("h100-newest", night, chosen, commit="abc", environment=environment)
        files.append(write_run(tmp_path / f"{night}.jsonl", run, chosen, lambda task, verdict=verdict: verdict))
    seen = overview(*files)
    (group,) = seen["groups"]
    assert (group["change"], group["kind"], group["count"]) == ("new", "width-mismatch", 32)
    assert seen["differences"][group["difference"]] == [["torch", "2.12.0", "2.13.0"]]
    assert group["earlier"] == "2026-11-25"


def test_no_longer_planned_is_not_incomplete(tmp_path: Path) -> None:
    nights = [list(tasks("h100-newest", night, MODELS[: 2 - night], (1,))) for night in range(2)]
    files = [
        write_run(tmp_path / f"{night}.jsonl", run_record("h100-newest", night, chosen), chosen, all_ok)
        for night, chosen in enumerate(nights)
    ]
    assert changes(overview(*files)) == {"gone": 32}


def shards(folder: Path, verdicts: Verdicts = all_ok) -> tuple[list[Path], list[Task]]:
    """A night of two shards, of one matrix."""
    chosen = list(tasks("h100-newest", 0, MODELS[:1], (1,)))
    runs = [run_record("h100-newest", 0, chosen, (index, 2)) for index in (1, 2)]
    halves = [chosen[0::2], chosen[1::2]]
    return [
        write_run(folder / f"shard-{place}.jsonl", run, half, verdicts)
        for place, (run, half) in enumerate(zip(runs, halves, strict=True))
    ], chosen


def test_shards_are_one_night_and_none_is_missing(tmp_path: Path) -> None:
    files, chosen = shards(tmp_path)
    seen = overview(*files)
    assert changes(seen) == {}
    assert sum(map(sum, seen["cells"]["counts"])) == len(chosen)
    assert seen["runners"][0]["absent"] == []


def test_a_shard_that_sent_nothing_is_missed_and_comes_later(tmp_path: Path) -> None:
    files, chosen = shards(tmp_path)
    seen = overview(files[0])
    assert changes(seen) == {"incomplete": len(chosen) // 2}
    assert seen["runners"][0]["absent"] == ["2/2"]
    assert changes(overview(files[1], history=tmp_path / "history.sqlite")) == {}


def test_a_run_that_was_stopped_and_resumed(tmp_path: Path) -> None:
    chosen = list(tasks("h100-newest", 0, MODELS[:1], (1,)))
    run = run_record("h100-newest", 0, chosen)
    half = write_run(tmp_path / "half.jsonl", run, chosen[:10], all_ok, end=False)
    seen = overview(half)
    assert (changes(seen), seen["runners"][0]["stopped"]) == ({"incomplete": 22}, 1)
    seen = overview(write_run(tmp_path / "whole.jsonl", run, chosen, all_ok), history=tmp_path / "history.sqlite")
    assert (changes(seen), seen["runners"][0]["stopped"]) == ({}, 0)


def test_adding_files_again_and_in_another_order_changes_nothing(tmp_path: Path) -> None:
    files = three_nights(tmp_path)
    first = overview(*files)
    assert overview(*reversed(files), history=tmp_path / "history.sqlite") == first
    backwards = overview(*reversed(files), history=tmp_path / "backwards.sqlite")
    assert changes(backwards) == changes(first)


def test_three_nights_of_three_runners(tmp_path: Path) -> None:
    seen = overview(*three_nights(tmp_path))
    assert changes(seen) == {"new": 4, "changed": 12, "same": 24, "incomplete": 8, "fixed": 12, "gone": 24}
    assert [runner["newest"] for runner in seen["runners"]] == ["2026-11-27"] * 3
    assert [runner["stopped"] for runner in seen["runners"]] == [0, 0, 1]
    assert {row["status"] for row in seen["audits"]} == {"breaks", "holds"}
    assert {row["id"]: row["status"] for row in seen["selftests"]} == {
        "vllm#35949": "ok",
        "vllm#41184": "findings",
        "unpadded": "ok",
    }
    assert seen["times"][0]["values"] == [41.5, 41.5, 41.5]


def test_a_runner_without_results_this_night_keeps_its_own_newest(tmp_path: Path) -> None:
    files = three_nights(tmp_path)
    seen = overview(*(file for file in files if file.name != "b200-nightly-2.jsonl"))
    runner = seen["runners"][0]
    assert (runner["name"], runner["newest"], runner["before"]) == ("b200-nightly", "2026-11-26", "2026-11-25")


def test_two_nights_that_share_no_case(tmp_path: Path) -> None:
    files = []
    for night in range(2):
        chosen = list(tasks("h100-newest", night, MODELS[night : night + 1], (1,)))
        files.append(write_run(tmp_path / f"{night}.jsonl", run_record("h100-newest", night, chosen), chosen, planted))
    runner = overview(*files)["runners"][0]
    assert (runner["shared"], runner["compared"]) == (0, 32)


def test_the_newest_nights_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    seen = overview(*three_nights(tmp_path), nights=2)
    assert (seen["nights"], seen["older"]) == (["2026-11-26", "2026-11-27"], 1)
    assert {len(worst) for worst in seen["cells"]["worst"]} == {2}


def test_a_later_result_of_the_same_run_counts(tmp_path: Path) -> None:
    chosen = list(tasks("h100-newest", 0, MODELS[:1], (1,)))
    run = run_record("h100-newest", 0, chosen)
    overview(write_run(tmp_path / "stopped.jsonl", run, chosen, lambda task: RED, end=False))
    seen = overview(write_run(tmp_path / "resumed.jsonl", run, chosen, all_ok), history=tmp_path / "history.sqlite")
    assert changes(seen) == {}
