"""Code of a user that ends the process at once does not end a run as a success."""

import os
import threading
from pathlib import Path

import pytest

from fixtures.refusals import assert_one_line
from harness.base.exits import exits_raise
from harness.cli import main


@pytest.mark.parametrize("call", ["os._exit(0)", "os.execlp('true', 'true')", "os.abort()"])
def test_a_corpus_that_ends_the_process_is_bad_input(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"corpus_that_ends_{call[3:8].strip('_').lower()}"
    (tmp_path / f"{name}.py").write_text(f"import os\n\n{call}\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["selftest", "--corpus", name]) == 2
    errors = capfd.readouterr().err
    assert_one_line(errors)
    assert f"{name}.py:3: {call}" in errors


def test_a_forked_child_ends_as_it_wants_to() -> None:
    with exits_raise():
        child = os.fork()
        if not child:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_was_taken_from_os_inside_works_after_it() -> None:
    with exits_raise():
        taken = os._exit
    child = os.fork()
    if not child:
        taken(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_another_thread_ends_the_process_as_a_failure() -> None:
    child = os.fork()
    if not child:
        with exits_raise():
            thread = threading.Thread(target=os._exit, args=(0,))
            thread.start()
            thread.join()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
