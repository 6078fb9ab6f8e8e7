"""When two messages of a log are one failure that is told twice, and when they are two."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Report


def report_of(text: str) -> Report:
    return diagnose(io.BytesIO(text.encode()), "x")


def section(name: str, message: str) -> str:
    """A failing test as pytest prints it."""
    return (
        f"___________________________ {name} ___________________________\n\n"
        "    def test_down(tokens):\n        act = torch.zeros(tokens, 1344)\n"
        ">       out = act @ w2.T\n                ^^^^^^^^^^\n"
        f"E       RuntimeError: {message}\n\ntest_down.py:11: RuntimeError\n"
    )


PRODUCT = "mat1 and mat2 shapes cannot be multiplied ({rows}x1344 and 1408x2688)"


def sections(*messages: str) -> str:
    heading = "=================================== FAILURES ===================================\n"
    several = "".join(section(f"test_down[{n}]", message) for n, message in enumerate(messages))
    return f"{heading}{several}=========================== short test summary info ============================\n"


@pytest.mark.parametrize("rows", [(5, 33), (5, 33, 64), (5, 5), (1, 11, 1)])
def test_failing_tests_with_other_rows_are_each_counted(rows: tuple[int, ...]) -> None:
    (one,) = report_of(sections(*(PRODUCT.format(rows=number) for number in rows))).failures
    assert (one.kind, one.count) == ("matmul", len(rows))
    assert sorted(width.size for width in one.widths) == [1344, 1408]


def test_failing_tests_with_other_widths_have_an_answer_each() -> None:
    first, second = report_of(sections(PRODUCT.format(rows=5), PRODUCT.format(rows=5).replace("1344", "1280"))).failures
    assert (first.count, second.count) == (1, 1)


def test_other_words_for_the_same_sizes_are_one_failure() -> None:
    title = "[Bug]: a and b must have same reduction dim, but got [s7, 1344] X [1408, 2688].\n\n"
    (one,) = report_of(title + sections(PRODUCT.format(rows=5))).failures
    assert one.count == 1


WATCHDOG = (
    "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=881, OpType=ALLREDUCE, NumelIn=2688, NumelOut=2688, "
    "Timeout(ms)=1800000) ran for 1800{ms} milliseconds before timing out."
)
SAID = "[rank1]:[E1101 07:00:01.5 ProcessGroupNCCL.cpp:632] [Rank 1] {watchdog}\n"
ENDS = (
    "terminate called after throwing an instance of 'c10::DistBackendError'\n"
    "  what():  [PG ID 0 PG GUID 0 Rank 1] Process group watchdog thread terminated with exception: [Rank 1] {watchdog}\n"
)
BETWEEN = "INFO: waiting\n" * 5


@pytest.mark.parametrize("between", ["", BETWEEN, BETWEEN * 6])
def test_what_ends_the_process_is_the_failure_that_was_told_before(between: str) -> None:
    watchdog = WATCHDOG.format(ms="061")
    (one,) = report_of(SAID.format(watchdog=watchdog) + between + ENDS.format(watchdog=watchdog)).failures
    assert (one.kind, one.count) == ("collective", 1)
    assert one.writers == ("[rank1]:",)


def test_another_timeout_is_another_failure() -> None:
    texts = SAID.format(watchdog=WATCHDOG.format(ms="061")), ENDS.format(watchdog=WATCHDOG.format(ms="093"))
    assert len(report_of(BETWEEN.join(texts)).failures) == 2


def test_threads_that_fail_one_assertion_are_one_failure() -> None:
    line = "/b/IndexKernel.cu:93: operator(): block: [{n},0,0], thread: [{n},0,0] Assertion `index out of bounds` failed.\n"
    (one,) = report_of("".join(line.format(n=n) for n in range(3)) + BETWEEN * 6 + line.format(n=9)).failures
    assert one.count == 1
