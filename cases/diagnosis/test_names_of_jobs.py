"""The log of a run on GitHub as its command line prints it: the names of job and step before each line are none of the text's."""

import io

import pytest

from fixtures.pace import is_done_within
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

REPORT = """FF                                                                       [100%]
=================================== FAILURES ===================================
______________________________ test_columns_of_out ______________________________
tests/test_experts.py:31: in test_columns_of_out
    return out.reshape(tokens, hidden)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
E   RuntimeError: shape '[9, 2880]' is invalid for input of size 27648
_______________________________ test_two_experts ________________________________
tests/test_experts.py:44: in test_two_experts
    out = routed + shared
          ^^^^^^^^^^^^^^^
E   RuntimeError: The size of tensor a (2816) must match the size of tensor b (2688) at non-singleton dimension 1
=========================== short test summary info ============================
FAILED tests/test_experts.py::test_columns_of_out - RuntimeError: shape '[9, 2880]'...
FAILED tests/test_experts.py::test_two_experts - RuntimeError: The size of tensor...
2 failed in 3.21s
"""
BARE = "ValueError: w2 has an invalid shape [96, 3072], expected [96, 2880]\n"
NAMES = [
    ("gpu (3.12, cu130)", "Run tests"),
    ("lint", "UNKNOWN STEP"),
    ("nightly / INFO 2 > 1", "Run ./ci.sh | tee DEBUG.log: rank 3"),
    ("Error: Группа", "WARNING"),
]


def _printed(text: str, job: str, step: str, mark: str = "\ufeff") -> str:
    """The text with what is put before its lines; the first of a step has a mark of the encoding."""
    lines = enumerate(text.splitlines())
    return "".join(
        f"{job}\t{step}\t{'' if n else mark}2026-03-02T07:09:{n // 60 % 60:02d}.{n % 10_000_000:07d}Z {line}\n"
        for n, line in lines
    )


def _answers(text: str) -> list[tuple[str, str, str, tuple[int, int], str]]:
    def told(one: Diagnosis) -> tuple[str, str, str, tuple[int, int], str]:
        return one.kind, one.verdict, one.what, one.lines, one.user_line

    return [told(one) for one in diagnose(io.BytesIO(text.encode()), "x").failures]


@pytest.mark.parametrize(("job", "step"), NAMES)
def test_no_name_of_a_job_or_a_step_hides_a_failure(job: str, step: str) -> None:
    found = _answers(_printed(REPORT, job, step))
    assert [kind for kind, *_ in found] == ["reshape", "broadcast"]
    assert found == _answers(REPORT)


@pytest.mark.parametrize(("job", "step"), NAMES)
def test_no_name_is_part_of_a_message(job: str, step: str) -> None:
    ((*_, what, _, _),) = _answers(_printed(BARE, job, step, mark=""))
    assert what == BARE.strip()


def test_the_jobs_of_a_run_follow_each_other() -> None:
    parts = [_printed(REPORT, job, step) for job, step in NAMES]
    failures = diagnose(io.BytesIO("".join(parts).encode()), "x").failures
    assert [(one.kind, one.count) for one in failures] == [("reshape", len(NAMES)), ("broadcast", len(NAMES))]


def test_a_job_may_name_the_model() -> None:
    (one,) = diagnose(io.BytesIO(_printed(BARE, "gpt-oss-120b", "test").encode()), "x").failures
    assert any("gpt-oss-120b" in command for command in one.tries)


def test_tabs_of_a_message_stay() -> None:
    text = "ValueError: w2\thas an invalid shape [96, 3072],\texpected [96, 2880]\n"
    assert diagnose(io.BytesIO(text.encode()), "x").failures[0].what.startswith("ValueError: w2")


def test_a_long_log_of_a_run_is_read_at_once() -> None:
    idle = "".join(f"step {n} loss 1.25 of tokens 4096 in 0.31 s\n" for n in range(100_000))
    log = _printed(idle + REPORT, *NAMES[0]).encode()
    assert len(log) > 8_000_000
    assert is_done_within(2.0, lambda: len(diagnose(io.BytesIO(log), "x").failures) == 2)
