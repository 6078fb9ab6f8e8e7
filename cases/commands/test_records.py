"""The JSON lines of a run: the last run's are kept until there are new ones, and a full disk is one line."""

import json
import os
import threading
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


def test_a_second_run_with_the_same_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    with Records(str(file)) as first:
        first.write({"row": 1})
        with pytest.raises(BadInput, match="another run is writing to it"), Records(str(file)) as second:
            second.write({"row": 2})
        first.write({"row": 3})
    assert [json.loads(line)["row"] for line in file.read_text().splitlines()] == [1, 3]
    with Records(str(file)) as third:
        third.write({"row": 4})
    assert json.loads(file.read_text()) == {"row": 4}


def test_a_fifo_is_written_to_where_somebody_reads_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(BadInput, match="a FIFO that no process reads"), Records(str(fifo)):
        pass
    lines: list[str] = []
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)

    def read() -> None:
        with os.fdopen(descriptor) as stream:
            lines.extend(stream)

    reader = threading.Thread(target=read)
    with Records(str(fifo)) as records:
        reader.start()
        records.write({"row": 1})
    reader.join(10)
    assert lines == ['{"row": 1}\n']


def test_a_dash_is_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with Records("-") as records:
        records.write({"row": 1})
    assert capfd.readouterr().out == '{"row": 1}\n'
