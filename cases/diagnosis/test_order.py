"""Logs whose viewer shows the newest line first: they are turned around, and no other log is."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.log.order import newest_first, turned

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/app/block.py", line 31, in forward',
    "    return shared_output + routed_output",
    "RuntimeError: The size of tensor a (2880) must match the size of tensor b (2944) at non-singleton dimension 1",
]


def _log(lines: list[str], step: int) -> bytes:
    times = (f"2026-11-21 14:03:{30 + step * place:02}.500" for place in range(len(lines)))
    return "".join(f"{time} {line}\n" for time, line in zip(times, lines, strict=True)).encode()


def test_a_log_that_is_turned_around_has_the_same_failure_at_its_own_lines() -> None:
    forwards = _log([*TRACEBACK, "INFO shutting down"], 1)
    backwards = turned(forwards)
    assert newest_first(backwards)
    (one,), (other,) = (diagnose(io.BytesIO(log), "a log").failures for log in (forwards, backwards))
    assert (one.cause, one.user_line) == (other.cause, other.user_line)
    assert (one.line, other.line) == (4, 2)
    assert other.lines == (6 - one.lines[1], 6 - one.lines[0])


@pytest.mark.parametrize(
    "log",
    [
        _log(TRACEBACK, 1),  # as it was written
        _log(TRACEBACK, 0),  # at one time
        _log(TRACEBACK, -1),  # a clock that was set back, and a heading above its frames
        _log(["INFO a", "INFO b", "INFO c", "INFO d"], 1),
        "\n".join(TRACEBACK).encode(),
        # two ranks by turns: a frame of one above the heading of the other
        "\n".join(f"[rank{rank}]: {line}" for line in TRACEBACK for rank in (0, 1)).encode(),
        # events newest first, each whole
        _log(["ERROR b\n" + "\n".join(TRACEBACK), "ERROR a\n" + "\n".join(TRACEBACK), "INFO start"], -1),
        b"",
    ],
)
def test_other_logs_stay_as_they_are(log: bytes) -> None:
    assert not newest_first(log)


def test_the_end_of_the_last_line_stays_as_it_was() -> None:
    assert turned(b"a\nb\n") == b"b\na\n"
    assert turned(b"a\nb") == b"b\na"
