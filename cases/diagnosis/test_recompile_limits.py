"""The recompilations of one function, the limit that it meets and the limit's exception are one failure, told by the limit."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

# As torch 2.13 writes it; the frames of its own are fewer here.
TORCH = "{level}1104 09:12:3{second}.250000 77 torch/_dynamo/{file}] [{frame}/{variant}] "
MIX, FOLD = ("mix", "/opt/app/mixer.py", 40), ("fold", "/opt/app/folder.py", 70)
RAISED = """Traceback (most recent call last):
  File "/opt/lib/python3.12/site-packages/torch/_dynamo/convert_frame.py", line 2008, in raise_unimplemented_cache_limit_exceeded
    unimplemented(
torch._dynamo.exc.Unsupported: Dynamo recompile limit exceeded
  Hint: If recompilations are expected, consider increasing torch._dynamo.config.recompile_limit to an appropriate value.

  Developer debug context: Limit type: recompile_limit

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/opt/app/serve.py", line 12, in serve
    return mixer(rows, step)
  File "/opt/lib/python3.12/site-packages/torch/_dynamo/convert_frame.py", line 2031, in _compile
    raise FailOnRecompileLimitHit(
torch._dynamo.exc.FailOnRecompileLimitHit: Hard failure due to {why}
"""
FULL, SETTING = "fullgraph=True", "fail_on_recompile_limit_hit"
NO_EXCEPTION = "No exception of the limit is told with it"


def again(function: tuple[str, str, int], frame: int, variant: int, guard: str = "step") -> str:
    """What TORCH_LOGS=recompiles prints of one compilation more."""
    name, file, line = function
    mark = (
        TORCH.format(level="V", second=variant, file="guards.py:5396", frame=frame, variant=variant) + "[__recompiles] "
    )
    lines = [f"Recompiling function {name} in {file}:{line}", "    triggered by the following guard failure(s):"]
    lines.append(
        f"    - {frame}/{variant - 1}: L['{guard}'] == {variant + 10}      # out = rows * {guard}  # app/x.py:{line + 1} in {name}"
    )
    lines += [
        "    - User stack trace:",
        f'    -   File "{file}", line {line + 1}, in {name}',
        f"    -     out = rows * {guard}",
    ]
    return "".join(f"{mark}{text}\n" for text in lines)


def limit(function: tuple[str, str, int], frame: int, guard: str = "step", reason: bool = True) -> str:
    """The warning of the limit."""
    name, file, line = function
    mark = TORCH.format(level="W", second=9, file="convert_frame.py:1994", frame=frame, variant=4)
    lines = ["torch._dynamo hit config.recompile_limit (4)", f"   function: '{name}' ({file}:{line})"]
    lines += [
        f"   last reason: {frame}/3: L['{guard}'] == 88      # out = rows * {guard}  # app/x.py:{line + 1} in {name}"
    ] * reason
    lines += ["User stack trace:", f'  File "{file}", line {line + 1}, in {name}', f"    out = rows * {guard}"]
    lines += ['To log all recompilation reasons, use TORCH_LOGS="recompiles".']
    return "".join(f"{mark}{text}\n" for text in lines)


MIXED = "".join(again(MIX, 0, variant) for variant in (1, 2, 3))


def read(text: str, prefix: str = "") -> tuple[Diagnosis, ...]:
    text = "".join(f"{prefix}{line}\n" for line in text.splitlines())
    return diagnose(io.BytesIO(text.encode()), "x").failures


@pytest.mark.parametrize("prefix", ["", "[rank3]:"])
@pytest.mark.parametrize("exception", ["", FULL, SETTING])
def test_recompilations_a_limit_and_its_exception_are_one_failure(prefix: str, exception: str) -> None:
    text = MIXED + limit(MIX, 0) + (RAISED.format(why=exception) if exception else "")
    (one,) = read(text, prefix)
    assert (one.stage, one.count, one.user_line) == (
        "guard L['step'] == 88",
        1,
        "/opt/app/mixer.py:41: out = rows * step",
    )
    assert one.lines == (1, text.count("\n"))
    assert "mix, was given more variants than the recompile limit" in one.cause
    assert ("fullgraph=True makes it an error" in one.cause) == (exception == FULL)
    assert ("a setting makes it an error" in one.cause) == (exception == SETTING)
    assert (NO_EXCEPTION in one.cause) == (not exception)
    assert "an error of the layer: each variant compiles" not in one.against
    assert one.title == "one function that is compiled again and again"


def test_other_sizes_before_the_limit_are_no_other_failure() -> None:
    size = "tensor 'rows' size mismatch at index 1. expected {}, actual {}"
    before, last = again(MIX, 0, 1), limit(MIX, 0)
    text = before.replace("L['step'] == 11", size.format(6, 7)) + last.replace("L['step'] == 88", size.format(9, 10))
    (one,) = read(text)
    assert [width.size for width in one.widths] == [9, 10]


@pytest.mark.parametrize("both", [False, True])
def test_two_functions_by_turns_are_two_failures(both: bool) -> None:
    turns = "".join(again(MIX, 0, variant) + again(FOLD, 1, variant, "depth") for variant in (1, 2, 3))
    text = turns + (limit(FOLD, 1, "depth") if both else "") + limit(MIX, 0) + RAISED.format(why=FULL)
    fold, mix = sorted(read(text), key=lambda one: one.stage)
    assert (mix.stage, mix.lines) == ("guard L['step'] == 88", (1, text.count("\n")))
    assert fold.stage == ("guard L['depth'] == 88" if both else "guard L['depth'] == 11")
    assert fold.lines[0] == 7
    assert (NO_EXCEPTION in fold.cause, "raised" in fold.cause, "raised" in mix.cause) == (both, False, True)
    assert ("fold, is compiled again and again. What failed first is" in fold.cause) == (not both)


def test_a_limit_without_a_reason_has_that_of_the_last_recompilation() -> None:
    (one,) = read(MIXED + limit(MIX, 0, reason=False))
    assert (one.stage, one.lines[0]) == ("guard L['step'] == 13", 1)
    assert "than the recompile limit" in one.cause


def test_an_exception_alone_is_of_the_only_function_before_it() -> None:
    (one,) = read(MIXED + RAISED.format(why=FULL))
    assert (one.stage, one.lines[0]) == ("guard L['step'] == 13", 1)
    assert "mix, was given more variants than the recompile limit" in one.cause
    two = read(again(FOLD, 1, 1, "depth") + MIXED + RAISED.format(why=FULL))
    assert len(two) == 2
    assert not any("fullgraph" in one.cause for one in two if one.stage)


def test_what_pytest_captured_stands_below_the_exception() -> None:
    captured = "----------------------------- Captured stderr call -----------------------------\n"
    (one,) = read(RAISED.format(why=FULL) + captured + MIXED + limit(MIX, 0))
    assert (one.stage, one.lines[0]) == ("guard L['step'] == 88", 1)
    assert "fullgraph=True makes it an error" in one.cause


def test_processes_that_meet_the_limit_are_counted() -> None:
    text = MIXED + limit(MIX, 0) + RAISED.format(why=FULL)
    by_turns = "".join(f"[rank0]:{line}\n[rank1]:{line}\n" for line in text.splitlines())
    (one,) = read(by_turns)
    assert (one.count, one.writers, one.stage) == (2, ("[rank0]:", "[rank1]:"), "guard L['step'] == 88")
