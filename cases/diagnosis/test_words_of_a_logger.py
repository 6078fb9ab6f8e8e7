"""A program logs an error in one line, with words of its own before the message, and then raises it: that is one failure."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Report

CAPTURES = "CUDA error: operation not permitted when stream is capturing"
MEMORY = (
    "CUDA out of memory. Tried to allocate 3.50 GiB. GPU 2 has a total capacity of 79.10 GiB of which 1.06 GiB is free."
)
LONG = (
    f"{MEMORY} Including non-PyTorch memory, this process has 78.03 GiB in use. "
    + "Of the allocated memory much is free. " * 9
)
MESSAGES = {
    "a mask in a capture": (CAPTURES, "rows = hidden[ids == e]"),
    "item in a capture": (CAPTURES, "n = counts.max().item()"),
    "an experts' op in a capture": (CAPTURES, "y = torch.ops.acme.fused_experts(x, w)"),
    "memory": (MEMORY, "buf = torch.empty(n, h)"),
    "memory, in few words": ("CUDA out of memory", "buf = torch.empty(n, h)"),
    "memory, shortened": (LONG, "buf = torch.empty(n, h)"),
    "an op": (
        "acme::experts: attempted to run this operator with Meta tensors, but there was no fake impl",
        "y = f(x)",
    ),
    "a mask in a trace": (
        "Could not guard on data-dependent expression Eq(u0, 0) (unhinted: Eq(u0, 0)).",
        "y = x[x > 0]",
    ),
    "a product": ("mat1 and mat2 shapes cannot be multiplied (7x1344 and 1408x2688)", "y = h @ w2.T"),
}
PREFIXES = {
    "none": "",
    "a time": "2026-11-26 10:12:33,120 ERROR serve: ",
    "brackets": "[11/26/2026-10:12:33] [ACME] [E] ",
}
WORDS = {
    "words": "{prefix}start-up failed on rank 0: {message}\n",
    "a class": "{prefix}worker died: RuntimeError: {message}\n",
}


def raised(message: str, code: str, line: int = 81, words: str = "") -> str:
    return (
        f'Traceback (most recent call last):\n  File "/srv/acme/moe_layer.py", line {line}, in forward\n    {code}\n'
        f"RuntimeError: {words}{message}\n"
    )


def report_of(text: str) -> Report:
    return diagnose(io.BytesIO(text.encode()), "x")


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("name", MESSAGES)
def test_a_logged_message_and_its_traceback_are_one_failure(name: str, prefix: str, words: str) -> None:
    message, code = MESSAGES[name]
    logged, trace = words.format(prefix=prefix, message=message), raised(message, code)
    for text in (logged + trace, trace + "\n" * 20 + logged):
        (one,) = report_of(text).failures
        assert (one.count, one.user_line) == (1, f"/srv/acme/moe_layer.py:81: {code}")


@pytest.mark.parametrize("name", MESSAGES)
def test_words_before_both_hide_no_message(name: str) -> None:
    message, code = MESSAGES[name]
    text = f"ERROR start-up failed: {message}\n" + raised(message, code, words="the engine is dead: ")
    assert len(report_of(text).failures) == 1


def test_one_message_at_two_lines_is_two_failures_and_the_logged_line_none() -> None:
    first, second = (raised(CAPTURES, code, line) for code, line in (("rows = x[x > 0]", 8), ("n = counts.item()", 90)))
    logged = f"ERROR capture failed: {CAPTURES}\n"
    found = report_of(logged + first + "\n" * 20 + second).failures
    assert [one.user_line.partition(": ")[0] for one in found] == [
        "/srv/acme/moe_layer.py:8",
        "/srv/acme/moe_layer.py:90",
    ]


def test_another_amount_is_another_failure() -> None:
    logged = f"ERROR warm-up failed: {MEMORY.replace('3.50', '9.25')}\n"
    assert len(report_of(logged + raised(MEMORY, "buf = torch.empty(n, h)")).failures) == 2
