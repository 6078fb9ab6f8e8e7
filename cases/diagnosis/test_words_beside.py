"""Words of padding or experts with one of two widths count wherever the log has them: in another test of the same run."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

RULE = "_______________________________ {name} _______________________________\n"
OTHER = RULE.format(name="test_first") + "tests/test_layer.py:9: in test_first\n    {code}\nE   RuntimeError: {why}\n"
SHAPE = (
    RULE.format(name="test_keeps_shape")
    + "tests/test_layer.py:16: in test_keeps_shape\n    assert layer(x).shape == x.shape\n"
    "acme_ops.py:41: in forward\n    {code}\nE   RuntimeError: {message}\n"
)
MESSAGES = {
    "out.view(b, s, h)": "shape '[2, 7, 2880]' is invalid for input of size 43008",
    "y = a + b": "The size of tensor a (3072) must match the size of tensor b (2880) at non-singleton dimension 1",
    "y = a @ b": "mat1 and mat2 shapes cannot be multiplied (14x3072 and 2880x1000)",
}
SPEAK = [
    "y = unpad_hidden(x, 2880)",
    "y = op.pad_columns(x, width=3072)",
    "assert experts(x).shape == (5, 2880)",
    "moe = MoE(2880, 8)",
]
SILENT = [
    "y = unpad_hidden(x, 1408)",
    "x = pad_tokens(ids, 2880)",
    "y = tokenizer(text, padding='max_length', max_length=2880)",
    "mask = pad_mask(2880)",
    "y = conv(x, 2880)",
    "x = open('/data/experts/2880')",
    "y = unpad_hidden(x)  # acme_moe.py:2880",
]


def last(first: str, code: str) -> Diagnosis:
    heading = "=================================== FAILURES ===================================\n"
    text = heading + OTHER.format(code=first, why="boom") + SHAPE.format(code=code, message=MESSAGES[code])
    found = diagnose(io.BytesIO(text.encode()), "x").failures
    return next(one for one in found if one.widths)


@pytest.mark.parametrize("code", MESSAGES)
@pytest.mark.parametrize("first", SPEAK)
def test_words_of_another_test_speak_for_padding(first: str, code: str) -> None:
    one = last(first, code)
    assert one.verdict == "family"
    assert "nothing beside the numbers" not in one.cause
    assert f'The log has elsewhere: "{first}".' in one.cause
    assert "after the routed experts" not in one.stage or "as the final one" in one.stage


@pytest.mark.parametrize("code", MESSAGES)
@pytest.mark.parametrize("first", SILENT)
def test_words_of_another_size_or_thing_do_not(first: str, code: str) -> None:
    one = last(first, code)
    assert one.verdict == "undecided"
    assert "elsewhere" not in one.cause


def test_sizes_that_may_fit_by_chance_are_perhaps_padding_then() -> None:
    message = "The size of tensor a (1024) must match the size of tensor b (1000) at non-singleton dimension 1"
    heading = "=================================== FAILURES ===================================\n"
    text = (
        heading
        + OTHER.format(code="y = unpad_columns(x, 1000)", why="boom")
        + SHAPE.format(code="y = a + b", message=message)
    )
    one = next(one for one in diagnose(io.BytesIO(text.encode()), "x").failures if one.widths)
    assert one.verdict != "other"
    assert "nothing beside the numbers speaks for padding" not in one.cause
