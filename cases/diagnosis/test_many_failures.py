"""Logs of failures without end: what alike ones cost, that they are counted, and that one of another form is found."""

import io

import pytest

from fixtures.diagnosing import lines_read
from fixtures.pace import is_done_within
from harness.diagnosis.accounts.few import OF_A_SORT
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Report
from harness.diagnosis.known.kinds import triggers
from harness.diagnosis.log.again.repeated import READ

ADD = "RuntimeError: The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1\n"
WORDS = ["size", "tensor", "layer", "width", "module", "value", "token", "index", "batch", "model", "expert", "number"]

TRIGGERS = sorted(triggers())


def report_of(text: str) -> Report:
    return diagnose(io.BytesIO(text.encode()), "x")


def traceback(n: int) -> str:
    return f'Traceback (most recent call last):\n  File "/a/m{n}.py", line {n}, in f\n    return g(x, y)\nValueError: no {n} in y\n'


def different(n: int) -> str:
    """An exception of one line whose words no other has in this order."""
    words = [WORDS[n // len(WORDS) ** place % len(WORDS)] for place in range(5)]
    return f"ValueError: {' '.join(words)} {n * 0.37}\n"


def triggered(n: int) -> str:
    """A line of a log with a text that a kind of failure may have, mostly one that is no failure."""
    return f"2026-11-28 10:00:00 worker {n} says {TRIGGERS[n % len(TRIGGERS)]} number {n * 7919} of it\n"


LOGS = {"different lines": different, "different tracebacks": traceback}
TIMED = {**LOGS, "a trigger in every line": triggered}


@pytest.mark.parametrize("name", TIMED)
def test_ten_mebibytes_of_different_failures_take_less_than_two_seconds(name: str) -> None:
    make = TIMED[name]
    content = "".join(make(n) for n in range((10 << 20) // len(make(100)))).encode()
    assert is_done_within(2.0, lambda: diagnose(io.BytesIO(content), name))


def test_tracebacks_that_differ_in_numbers_are_counted() -> None:
    report = report_of("".join(traceback(n) for n in range(500)))
    assert (len(report.failures), report.left_out, report.lines) == (OF_A_SORT, 500 - OF_A_SORT, 2000)


def test_lines_alike_but_for_their_digits_are_read_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    read = lines_read(monkeypatch)
    report = report_of("".join(triggered(n) for n in range(40_000)) + "INFO done\n" * 90 + ADD)
    assert report.lines == 40_091
    assert [one.line for one in report.failures if one.padded == 2816] == [40_091]
    assert len(read) < 20_000


def test_the_same_failure_again_and_again_is_one_with_its_count() -> None:
    many = "".join(f"ValueError: no {n} in y\n" for n in range(2 * READ))
    first = report_of(many + "ValueError: no 0 in y\nKeyError: 'k'\n" * 50 + many).failures[0]
    assert (first.what, first.count) == ("ValueError: no 0 in y", 52)


@pytest.mark.parametrize("make", LOGS.values(), ids=LOGS)
def test_one_of_this_family_among_thousands_is_found(make: object) -> None:
    assert callable(make)
    many = "".join(make(n) for n in range(3000))
    frames = 'Traceback (most recent call last):\n  File "/a/moe.py", line 7, in forward\n    return shared + routed\n'
    first = report_of(many + frames + ADD + many).failures[0]
    assert (first.padded, first.user_line) == (2816, "/a/moe.py:7: return shared + routed")


GUARD = "[rank{r}]:W1101 02:43:39.3 14{r} torch/_dynamo/convert_frame.py:896] [1/64]    {words}\n"
LAST = GUARD.format(
    r=6, words="last reason: 1/0: tensor 'L['images']' size mismatch at index 2. expected 1696, actual 1248"
)
LIMIT = GUARD.format(r=3, words="torch._dynamo hit config.cache_size_limit (64)")
FUNCTION = GUARD.format(r=3, words="function: 'forward' (/srv/acme/detail.py:131)")


@pytest.mark.parametrize(("between", "line"), [("", "/srv/acme/detail.py:131"), ("INFO: step done\n" * 9, "")])
def test_a_cut_message_has_the_line_of_the_next_rank_beside_it(between: str, line: str) -> None:
    (one,) = report_of(f"{LAST}{between}{LIMIT}{FUNCTION}").failures
    assert one.user_line == line
    assert len(one.writers) == 2


TITLE = (
    "RuntimeError: The size of tensor a (128) must match the size of tensor b (1698) at non-singleton dimension 4\n\n"
)
BLOCK = '> [rank1]:   File "/srv/lib/modeling_acme.py", line 335, in forward\n> [rank1]:     h, w = self.block(\n'


@pytest.mark.parametrize(
    ("last", "stage", "line"),
    [("apply_rotary_pos_emb", "attention", "/srv/lib/modeling_acme.py:172"), ("warm_up", "", "")],
)
def test_a_title_has_the_frames_of_attention_that_are_quoted_below_it(last: str, stage: str, line: str) -> None:
    below = f'> [rank1]:   File "/srv/lib/modeling_acme.py", line 172, in {last}\n> [rank1]:     e = f(q)\n'
    (one,) = report_of(TITLE + BLOCK + below).failures
    assert (one.stage, one.user_line) == (stage, line)


@pytest.mark.parametrize(
    "prefix",
    [
        ".../torch/_dynamo/guards.py:2772] [16/8] [__recompiles_verbose] ",
        "[rank0]:V0820 17:07:24.395000 631 site-packages/torch/_dynamo/guards.py:3006] [3/36] [__recompiles] ",
    ],
)
def test_a_log_of_recompilations_gives_the_guard_and_the_place(prefix: str) -> None:
    lines = (
        "Recompiling function scan_chunks in /srv/acme/block.py:172",
        "    triggered by the following guard failure(s):",
        "    - 3/35: self.layer_idx == 7",
    )
    (one,) = report_of("".join(f"{prefix}{line}\n" for line in lines)).failures
    assert (one.stage, one.user_line) == ("guard self.layer_idx == 7", "/srv/acme/block.py:172")
    assert "limit" not in one.cause
