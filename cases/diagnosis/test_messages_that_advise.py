"""An exception that no kind knows: what its message says to do is quoted. Strides of a swapped layout are no widths."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.render import rendered

FRAME = 'Traceback (most recent call last):\n  File "/srv/a/plan.py", line 9, in plan\n    self.module.plan(x)\n'


def the_one(text: str) -> Diagnosis:
    (one,) = diagnose(io.BytesIO(text.encode()), "x").failures
    return one


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (
            "Buffer overflow in aligned_alloc, 4131 bytes left. Increase the workspace buffer size.",
            "Increase the workspace buffer size",
        ),
        ("No plan was made. Please set PLAN_DIR to a folder first", "Please set PLAN_DIR to a folder first"),
        ("Kernel was not built (sm_120). Install acme.kernels 2.1 or later!", "Install acme.kernels 2.1 or later"),
    ],
)
def test_what_a_message_says_to_do_is_quoted(message: str, advice: str) -> None:
    one = the_one(f"{FRAME}RuntimeError: {message}\n")
    assert one.look == f'what the message says to do ("{advice}"); /srv/a/plan.py:9: self.module.plan(x)'


@pytest.mark.parametrize(
    "message",
    [
        "Set changed size during iteration",
        "No plan. Run failed",
        "Plan failed. Use of a closed pool",
        "lost. It was set to 4",
    ],
)
def test_a_message_that_says_nothing_to_do_is_not(message: str) -> None:
    assert the_one(f"{FRAME}RuntimeError: {message}\n").look == "/srv/a/plan.py:9: self.module.plan(x)"


def test_strides_of_a_swapped_layout_are_no_widths() -> None:
    text = (
        "AssertionError: expected size 24==24, stride 128==524288 at dim=1; expected size 4096==4096, stride 3072==128 at dim=2\n"
        "Error in op: torch.ops.acme.ring.default\n"
    )
    report = diagnose(io.BytesIO(text.encode()), "x")
    lines = ["".join(part for _, part in line).split()[:2] for line in rendered(report)]
    assert ["size", "3072"] in lines
    assert not [line for line in lines if line[:1] == ["width"]]
