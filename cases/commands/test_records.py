"""The JSON lines of a run: the last run's are kept until there are new ones, and a full disk is one line."""

from pathlib import Path

import pytest

from harness.base.errors import BadInput
from harness.output.records import Records


def test_the_last_runs_records_go_with_the_first_new_one(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text("old\n")
    with Records(str(file)) as records:
        assert file.read_text() == "old\n"
        records.write({"row": 1})
        assert file.read_text() == '{"row": 1}\n'
        records.write({"row": 2})
    assert file.read_text() == '{"row": 1}\n{"row": 2}\n'


def test_a_run_without_records_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text("old\n")
    with Records(str(file)):
        pass
    assert file.read_text() == "old\n"


def test_without_a_path_nothing_is_written() -> None:
    with Records(None) as records:
        records.write({"row": 1})


@pytest.mark.parametrize(
    ("path", "words"), [("/nowhere/records.jsonl", "cannot write --json"), ("/dev/full", "cannot append to --json")]
)
def test_what_cannot_be_written_is_bad_input(path: str, words: str) -> None:
    if path == "/dev/full" and not Path(path).exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(BadInput, match=words), Records(path) as records:
        records.write({"row": 1})
