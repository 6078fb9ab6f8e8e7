"""What pytest prints of failing tests, in each of its forms: the whole statement where it is there, and an answer for each line."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis, Report
from harness.diagnosis.statements.joined import items, joined
from harness.diagnosis.statements.whole import whole

# Statements of several lines; numpy is imported faster than torch, and raises in C as torch does.
PROGRAM = """
import numpy as np
import pytest

WIDE, NARROW = np.ones((3, 3072)), np.ones((3, 2880))


def called(routed, shared):
    return np.multiply(
        # the routed one first, (
        routed,
        shared,  # then the shared one
    )


def chained(routed, shared):
    return (
        routed
        .clip(0)  # once )
        .__add__(shared)
    )


def inner(routed, shared):
    def difference(x, y):
        return np.subtract(
            x,

            y,
        )

    return difference(routed, shared)


def headed(routed, shared):
    if (
        routed
        - shared
    ).sum():
        return 1


def continued(residual, mlp_out):
    residual = residual \\
        + mlp_out
    return residual


TABLE = {
    "mul": lambda gate, up: np.multiply(
        gate,
        up,
    ),
    "add": lambda a, b: a + b,
}


@pytest.mark.parametrize("f", [called, chained, inner, headed, continued, *TABLE.values()])
def test_f(f):
    f(WIDE, NARROW)


@pytest.fixture
def mixed():
    return np.maximum(
        WIDE,
        NARROW,
    )


def test_fixture(mixed):
    pass


def test_turned():
    residual, mlp_out = NARROW, WIDE
    residual = (residual
                + mlp_out)
"""
STATEMENTS = {
    "return np.multiply(routed, shared,)": "return np.multiply(",
    "return (routed.clip(0).__add__(shared))": "return (",
    "return np.subtract(x, y,)": "return np.subtract(",
    "if (routed - shared).sum():": "if (",
    "residual = residual + mlp_out": "residual = residual \\",
    '"mul": lambda gate, up: np.multiply(gate, up,)': '"mul": lambda gate, up: np.multiply(',
    '"add": lambda a, b: a + b': '"add": lambda a, b: a + b,',
    "return np.maximum(WIDE, NARROW,)": "return np.maximum(",
    "residual = (residual + mlp_out)": "residual = (residual",
}
NUMBERS = {PROGRAM[: PROGRAM.index(f" {first}\n") + 1].count("\n") + 1: whole for whole, first in STATEMENTS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reported")
    (path / "test_forms.py").write_text(PROGRAM)
    return path


def ran(folder: Path, *options: str) -> str:
    """What pytest prints of the program."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options, "test_forms.py"]
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "BUILD_NUMBER", "COLUMNS")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def report_of(text: str) -> Report:
    return diagnose(io.BytesIO(text.encode()), "x")


def lines_of(report: Report) -> dict[int, str]:
    """The statement of each answer by the number of its line."""
    parts = [one.user_line.split("test_forms.py:")[1].split(": ", 1) for one in report.failures]
    return {int(number): code for number, code in parts}


@pytest.mark.parametrize("options", [(), ("-l",), ("--tb=long",), ("-vv", "--color=yes"), ("-p", "xdist", "-n1")])
def test_the_whole_statement_is_told_with_its_first_line(folder: Path, options: tuple[str, ...]) -> None:
    report = report_of(ran(folder, *options))
    assert lines_of(report) == NUMBERS
    assert all("only a part" not in one.cause for one in report.failures)
    assert [one.count for one in report.failures] == [1] * len(STATEMENTS)


@pytest.mark.parametrize("prefix", ["2026-11-26T20:03:01.1234567Z ", "[pod/ci-1/run] ", "12:03:01 ", "> "])
def test_a_prefix_before_each_line_is_no_mark(folder: Path, prefix: str) -> None:
    log = "".join(prefix + line for line in ran(folder).splitlines(keepends=True))
    assert lines_of(report_of(log)) == NUMBERS


@pytest.mark.parametrize(("form", "untold"), [("short", 0), ("native", 0), ("line", 1)])
def test_each_line_has_an_answer_in_every_form(folder: Path, form: str, untold: int) -> None:
    report = report_of(ran(folder, f"--tb={form}"))  # in one line each, pytest leaves out where a fixture failed
    lines = {one.user_line for one in report.failures}
    assert (len(lines), len(report.failures), report.left_out) == (len(STATEMENTS) - untold, len(lines), 0)


SIZES = "RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1"
SUMMARY = "".join(
    f"{word} test_forms.py::{name} - {SIZES.format(a=a, b=b)}\n"
    for word, name, a, b in (
        ("ERROR", "test_fixture", 2816, 2688),
        ("FAILED", "test_f[called]", 2816, 2688),
        ("FAILED", "test_f[chained]", 2816, 2688),
        ("FAILED", "test_turned", 2688, 2816),
    )
)
HEADING = "=========================== short test summary info ============================"
SUMMARY = f"FFFE\n{HEADING}\n{SUMMARY}3 failed, 1 error in 5.12s\n"


def test_where_no_line_is_told_none_is_claimed() -> None:
    first, second = report_of(SUMMARY).failures
    assert (first.count, second.count) == (3, 1)
    assert first.user_line == second.user_line == ""
    assert [one.operands[1].partition(":")[0] for one in (first, second)] == ["first, 2816", "second, 2816"]
    assert all("1113" not in one.what and "5.12s" not in one.what for one in (first, second))


def test_a_summary_that_is_cut_may_be_of_this_family() -> None:
    cut = (line if len(line) < 80 else f"{line[:76]}..." for line in SUMMARY.splitlines())
    (one,) = report_of("\n".join(cut) + "\n").failures
    assert one.verdict == "undecided"
    assert one.what.startswith("ERROR test_forms.py::test_fixture")
    assert one.what.endswith("...")


def test_empty_lines_that_a_log_adds_shift_no_number(folder: Path) -> None:
    log = ran(folder).replace("\n", "\n\n")
    told = [one.user_line for one in report_of(log).failures]
    assert len(told) == len(STATEMENTS)
    for line in told:
        number, code = line.split("test_forms.py:")[1].split(": ", 1)
        first = next(number for number, statement in NUMBERS.items() if statement == code)
        assert first <= int(number) <= first + 3  # the number that pytest tells, of the line that ran


SEVERAL = """Traceback (most recent call last):
  File "/srv/acme/main.py", line 7, in combine
    return torch.stack(
           ~~~~~~~~~~~^
        (
        ^
            routed,
            ^^^^^^^
{between}            shared,  # the shared one
            ^^^^^^^
        ),
        ^^
    ).sum(0)
    ^
RuntimeError: stack expects each tensor to be equal size, but got [3, 3072] at entry 0 and [3, 2880] at entry 1
"""


def _only(text: str) -> Diagnosis:
    (one,) = report_of(text).failures
    return one


def test_python_marks_each_line_of_a_statement() -> None:
    one = _only(SEVERAL.format(between=""))
    assert one.user_line == "/srv/acme/main.py:7: return torch.stack((routed, shared,),).sum(0)"
    assert one.operands == ("2880: at the true width (shared)", "3072: padded (routed)")
    assert "only a part" not in one.cause


def test_what_python_leaves_out_is_missing() -> None:
    one = _only(SEVERAL.format(between="    ...<5 lines>...\n"))
    assert one.user_line == "/srv/acme/main.py:7: return torch.stack("
    assert "only a part" in one.cause


def test_a_call_in_a_chain_is_read_by_itself() -> None:
    text = SEVERAL.format(between="").splitlines()
    log = "\n".join([*text[:2], "    .add(shared_output)", "RuntimeError: The size of tensor a (3072) must match "])
    one = _only(f"{log}the size of tensor b (2880) at non-singleton dimension 1\n")
    assert one.stage == "shared add"


@pytest.mark.parametrize(
    ("source", "ran", "statement"),
    [
        (["y = f(x)", "z = (", "    a", "    + b", ")"], 2, "z = (a + b)"),
        (["out = a + \\", "    g(b) + \\", "    c"], 1, "out = a + g(b) + c"),
        (["call('a # b',", "     lambda x: x + y, 3)"], 1, "call('a # b', lambda x: x + y, 3)"),
        (["     lambda x, y: x + y, 3)"], 0, "lambda x, y: x + y"),
        (["     + b)"], 0, "+ b"),
        (["'k': [", "    x.half()", "    .add_(y)", "    for x in z", "],", "}"], 2, "x.half().add_(y) for x in z"),
        (["elif (a", "      + b):"], 1, "elif (a + b):"),
        (["x = f(a,"], 0, ""),
    ],
)
def test_a_statement_is_found_around_its_line(source: list[str], ran: int, statement: str) -> None:
    assert whole(source, ran)[0] == statement


def test_lines_are_joined_without_comments() -> None:
    assert joined(["f(", "  'a # (',  # why )", "  b,", ")"]) == "f('a # (', b,)"
    assert [*items("k: f(a, b), c)")] == ["k: f(a, b)", "k: f(a, b), c"]
