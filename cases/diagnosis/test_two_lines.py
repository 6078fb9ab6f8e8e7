"""Two lines of the user's are two failures, though their messages are alike; one line is one, in whatever process."""

import io

import pytest

from harness.diagnosis.accounts.found import LIMIT
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Report
from harness.diagnosis.log.again.places import place_in

SIZES = "The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1"
CODE = {88: "return routed_output + shared_output", 120: "return residual + mlp_out"}
WORKER = "(Worker_TP{rank} pid={rank}) ERROR 11-26 20:03:01 [core.py:710] "


def fails(
    line: int, a: int = 2816, b: int = 2688, file: str = "/srv/acme/layer.py", code: str = "", prefix: str = ""
) -> str:
    lines = (
        "Traceback (most recent call last):",
        '  File "/srv/acme/serve.py", line 9, in step',
        "    return self.layer(x)",
        f'  File "{file}", line {line}, in forward',
        f"    {code or CODE.get(line, 'return a + b')}",
        f"RuntimeError: {SIZES.format(a=a, b=b)}",
    )
    return "".join(f"{prefix}{text}\n" for text in lines)


def report_of(text: str) -> Report:
    return diagnose(io.BytesIO(text.encode()), "x")


def told(text: str) -> list[tuple[str, int, int]]:
    """Of each answer the place, how often it is there, and of how many processes."""
    report = report_of(text)
    assert report.left_out == 0
    places = (one.user_line.partition(": ")[0].rpartition("/")[2] for one in report.failures)
    return [(place, one.count, len(one.writers)) for place, one in zip(places, report.failures, strict=True)]


FIRST, SECOND = ("layer.py:88", 1, 0), ("layer.py:120", 1, 0)


@pytest.mark.parametrize("sizes", [(2816, 2688), (2688, 2816)])
@pytest.mark.parametrize("between", ["", "INFO a request is done\n" * 3, "INFO a request is done\n" * 30])
def test_two_lines_of_a_log_are_two_failures(sizes: tuple[int, int], between: str) -> None:
    assert told(fails(88) + between + fails(120, *sizes)) == [FIRST, SECOND]


def test_each_has_its_own_stage_and_number() -> None:
    first, second = report_of((fails(88) + fails(120)) * 3).failures
    assert (first.stage, first.count) == ("shared add", 3)
    assert (second.stage, second.count) == ("residual add", 3)


def test_a_title_is_of_the_first_of_two() -> None:
    title = "[Bug]: The size of tensor a (2816) must match the size of tensor b (2688)\n\n"
    assert told(title + fails(88) + fails(120)) == [FIRST, SECOND]


def test_the_same_code_at_two_lines_or_in_two_files_is_two() -> None:
    assert told(fails(10) + fails(30)) == [("layer.py:10", 1, 0), ("layer.py:30", 1, 0)]
    assert told(fails(10) + fails(10, file="/srv/acme/block.py")) == [("layer.py:10", 1, 0), ("block.py:10", 1, 0)]


@pytest.mark.parametrize("file", ["/srv/acme/layer.py", "/opt/other/acme/layer.py"])
def test_one_line_of_two_processes_is_one_failure(file: str) -> None:
    log = fails(88, prefix=WORKER.format(rank=0)) + fails(88, file=file, prefix=WORKER.format(rank=1))
    assert told(log) == [("layer.py:88", 2, 2)]


def test_two_lines_of_two_processes_are_two_failures() -> None:
    log = fails(88, prefix=WORKER.format(rank=0)) + fails(120, prefix=WORKER.format(rank=1))
    assert told(log) == [("layer.py:88", 1, 1), ("layer.py:120", 1, 1)]


@pytest.mark.parametrize(
    "code",
    ["raise RuntimeError(str(error))", "return future.result()", "pytest.fail(str(error))", "six.reraise(*info)"],
)
def test_a_line_that_raises_again_is_no_other_failure(code: str) -> None:
    assert told(fails(88) + fails(9, file="/srv/acme/api.py", code=code)) == [FIRST]


def test_a_line_that_gets_an_operand_is_another_failure() -> None:
    assert told(fails(88) + fails(9, code="y = self.parts.get(name) + routed")) == [FIRST, ("layer.py:9", 1, 0)]


def test_a_message_that_is_repeated_without_its_traceback_is_one_failure() -> None:
    message = f"ERROR: {SIZES.format(a=2816, b=2688)}\n"
    assert told(fails(88) + "INFO waiting\n" * 20 + message) == [FIRST]


def test_many_lines_with_one_message_have_an_answer_each() -> None:
    text = "".join(fails(n, code=f"{'y' * (n % 10 + 1)}{'_' * (n // 10 + 1)} = a + b") for n in range(1, 31))
    assert len(told(text)) == 30 < LIMIT


def section(n: int, line: int, rows: int = 3) -> str:
    message = f"mat1 and mat2 shapes cannot be multiplied ({rows}x1344 and 1408x2688)"
    return (
        f"____________________________ test_down_{line}[{n}] ____________________________\n\n"
        f"    def forward(self, act):\n>       return act @ self.w2.T\n               ^^^^^^^^^^^^^^^\n"
        f"E       RuntimeError: {message}\n\nmodel/layer.py:{line}: RuntimeError\n"
    )


def test_one_section_at_another_line_among_many_is_found() -> None:
    text = "".join(section(n, 91 if n == 150 else 88) for n in range(300))
    assert told(text) == [("layer.py:88", 299, 0), ("layer.py:91", 1, 0)]


def test_rows_that_differ_do_not_hide_another_line() -> None:
    report = report_of("".join(section(n, 88, n) for n in range(1, 40)) + section(3, 91))
    assert [one.user_line.partition(": ")[0] for one in report.failures] == ["model/layer.py:88", "model/layer.py:91"]
    assert report.left_out


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (['  File "/srv/acme/layer.py", line 3, in f', "    x", "model/layer.py:8: RuntimeError"], "model/layer.py:8"),
        (["acme/layer.py:8: in f", "/x/site-packages/torch/nn/modules/module.py:17: in g"], "acme/layer.py:8"),
        (['  File "/x/site-packages/torch/_ops.py", line 3, in f'], "/x/site-packages/torch/_ops.py:3"),
        (["/srv/test_a.py:8: RuntimeError: no"], "/srv/test_a.py:8"),
        (["a word", "x.py:8: UserWarning: no"], ""),
    ],
)
def test_the_innermost_place_is_the_users(lines: list[str], place: str) -> None:
    assert place_in(reversed(lines)) == place
