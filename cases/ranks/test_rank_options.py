"""The options of real ranks: what they choose, and what they refuse."""

import pytest

from harness.base.errors import BadInput
from harness.matrix.case_id import case_of
from harness.matrix.ranks import COLLECTIVES, REAL
from harness.matrix.selection import Selection
from harness.verdict.reproduce import reproduce, script_command

CHOSEN = {"models": ("gpt-oss-20b",), "ranks": REAL}


def names(**fields: object) -> set[tuple[str, str, int, str]]:
    tasks = Selection(**{**CHOSEN, **fields}).tasks()  # type: ignore[arg-type]
    return {(case.collective, case.kernel, case.tp, mode.name) for case, mode in tasks}


def test_a_cpu_runs_gloos_collectives_eager_and_compiled() -> None:
    assert names() == {
        (over, kernel, 2, mode)
        for over in ("all_reduce", "functional")
        for kernel in ("wide", "narrow")
        for mode in ("eager", "compiled")
    }


def test_cuda_runs_every_collective_and_captures() -> None:
    assert {over for over, *_ in names(cuda=True)} == set(COLLECTIVES)
    assert {mode for *_, mode in names(cuda=True)} == {"eager", "compiled", "cudagraph"}


def test_a_narrow_kernel_is_left_out_where_nothing_is_padded() -> None:
    assert {kernel for _, kernel, *_ in names(models=("deepseek-v3",))} == {"wide"}


def test_a_mode_that_is_named_is_chosen_on_a_cpu_too() -> None:
    assert {mode for *_, mode in names(modes=("cudagraph",))} == {"cudagraph"}


def test_a_case_is_found_again_by_its_id_and_by_its_command() -> None:
    (case,) = {case for case, _ in Selection(**CHOSEN, kernels=("wide",), collectives=("functional",)).tasks()}  # type: ignore[arg-type]
    assert case.id.endswith("-tp2-tokens7-ranks-functional")
    assert case_of(case.id) == case
    command = reproduce(case, "eager", "in-tree", "cpu")
    assert command.endswith("--tp 2 --tokens 7 --ranks real --collectives functional")
    assert script_command(command) == ""


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tp": (1,)}, "expected 2 to 8"),
        ({"ranks": "reel"}, "expected copies"),
        ({"collectives": ("nccl",)}, "did you mean raw_nccl"),
        ({"ranks": "", "collectives": ("functional",)}, "needs --ranks real"),
        ({"modes": ("fake",)}, "real ranks run in eager, compiled, cudagraph alone"),
        ({"vary": ("tokens=65",)}, "leave out --ranks real"),
    ],
)
def test_options_that_do_not_fit_are_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        names(**fields)
