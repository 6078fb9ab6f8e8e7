"""A size below 16 is told as a size: it counts experts, tokens or heads, unless the text calls it a width."""

import io

import pytest

from fixtures.diagnosing import diagnosis_of
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.render import rendered

ADD = """{head}
Traceback (most recent call last):
  File "/srv/heron/mix.py", line 9, in combine
    return routed * weights
RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1
"""


def names(a: int, b: int, head: str = "ready") -> list[str]:
    """How each size is called, in the order of the answer."""
    report = diagnose(io.BytesIO(ADD.format(head=head, a=a, b=b).encode()), "x")
    lines = ["".join(text for _, text in line).split() for line in rendered(report)]
    return [line[0] for line in lines if line and line[0] in ("width", "size", "rows")]


@pytest.mark.parametrize(
    ("a", "b", "called"),
    [(7, 2688, ["size", "width"]), (9, 13, ["size", "size"]), (15, 16, ["size", "width"]), (16, 48, ["width"] * 2)],
)
def test_a_size_is_called_a_width_from_sixteen_on(a: int, b: int, called: list[str]) -> None:
    assert names(a, b) == called


@pytest.mark.parametrize(
    ("head", "called"),
    [
        ("hidden_size=8 experts=4", "width"),
        ('{"d_model": 8}', "width"),
        ("the width is 8 here", "width"),
        ("hidden_size=88, top_k=8", "size"),
        ("8 experts of width 96", "size"),
        ("intermediate_size 8.5", "size"),
    ],
)
def test_unless_the_text_calls_it_one(head: str, called: str) -> None:
    assert names(8, 24, head) == [called, "width"]


def test_a_size_below_sixteen_was_not_rounded_up() -> None:
    one = diagnosis_of(ADD.format(head="experts padded", a=12, b=16))
    assert one.verdict == "other"
    assert one.against[0] == "padding: no model known here has a width as small as 12"
