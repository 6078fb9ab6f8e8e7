"""Logs in which pytest prints many failing tests: those alike are counted, with the answer that reading them all would give."""

import io
from random import Random

import pytest

from fixtures.diagnosing import lines_read
from fixtures.failure_texts import TEXTS
from fixtures.pace import is_done_within
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.log.again.tests import Sections

ADD = "RuntimeError: The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1"
SECTION = """\
____________________________ test_layer[case-{n}] ____________________________

    def test_layer(case):
>       out = layer(*inputs)

tests/test_layer.py:41:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

self = Layer at 0x{address:x}, hidden_states = tensor([[{value}]])

    def forward(self, hidden_states, topk_ids, topk_weights):
>       return shared + routed
               ^^^^^^^^^^^^^^^
E       {message}

model/layer.py:88: RuntimeError
"""
WORDS = ("wide", "narrow", "eager", "graph", "fp4", "moe", "latent", "gated")


def section(n: int, message: str = ADD) -> str:
    return SECTION.format(n=n, message=message, address=n * 7919, value=n / 7)


def of_summary(n: int, message: str = ADD) -> str:
    return f"FAILED tests/test_layer.py::test_layer[case-{n}] - {message}\n"


def named(n: int) -> str:
    """A line whose test is called as few others are."""
    name = "_".join(WORDS[n // len(WORDS) ** place % len(WORDS)] for place in range(5))
    return f"FAILED tests/test_layer.py::test_{name}[{n}] - {ADD}\n"


LOGS = {
    "sections": section,
    "the same section": lambda n: section(1),
    "lines of a summary": of_summary,
    "lines of a summary, named": named,
}


@pytest.mark.parametrize("name", LOGS)
def test_ten_mebibytes_of_failing_tests_take_less_than_two_seconds(name: str) -> None:
    content = "".join(LOGS[name](n) for n in range((10 << 20) // len(LOGS[name](100)))).encode()
    assert is_done_within(2.0, lambda: diagnose(io.BytesIO(content), name))


@pytest.mark.parametrize("name", ["sections", "lines of a summary"])
def test_most_of_what_is_alike_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = lines_read(monkeypatch)
    text = "".join(LOGS[name](n) for n in range(2000))
    diagnose(io.BytesIO(text.encode()), "x")
    assert len(read) < text.count("\n") / 10


def run_of(random: Random) -> str:
    """A run of pytest's, its tests alike in part: sections, a summary, perhaps one before the other or with times before them."""
    messages = [random.choice(TEXTS).text.strip().splitlines()[-1] for _ in range(random.randint(1, 6))]
    sections = []
    for n in range(random.randint(5, 80)):
        text = section(random.choice((1, 2, n)), random.choice(messages))
        if random.random() < 0.1:
            cause = "E       ValueError: x\nE\nE       The above exception was the direct cause\nE       "
            text = text.replace("E       ", cause, 1)
        if random.random() < 0.1:
            text += f"---------- Captured stdout call ----------\nstep\nRuntimeError: printed {random.choice((1, 2))}\n"
        sections.append(text)
    summary = [of_summary(random.choice((1, 2, 3, n)), random.choice(messages)) for n in range(random.randint(0, 200))]
    parts = ["==== FAILURES ====\n", *sections, "==== short test summary info ====\n", *summary, "==== done ====\n"]
    if random.random() < 0.3:
        parts = [*summary, *parts]
    text = "".join(parts) * random.choice((1, 1, 1, 2))
    return text if random.random() < 0.8 else "".join(f"2026-11-28T10:00:00Z {line}" for line in text.splitlines(True))


@pytest.mark.parametrize("seed", range(40))
def test_what_is_counted_gives_the_answer_of_what_is_read(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = run_of(Random(seed)).encode()
    counted = diagnose(io.BytesIO(log), "x")
    monkeypatch.setattr(Sections, "passes", lambda *arguments: (0, False))
    assert counted == diagnose(io.BytesIO(log), "x")


@pytest.mark.parametrize(
    "lines",
    [
        "abab",  # the same again, and no two at once
        "aabba",  # twice at once
        "ababxb",  # a line that is of another failure
        "abaxaxb",
        "axbxax",
    ],
)
def test_lines_of_a_summary_by_turns_are_counted_as_if_they_were_read(
    lines: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"a": of_summary(1), "b": of_summary(2), "x": of_summary(3, "Error in op: torch.ops.a.b.default")}
    log = ("".join(texts[line] for line in lines * 3) + "done\n").encode()
    counted = diagnose(io.BytesIO(log), "x")
    monkeypatch.setattr(Sections, "passes", lambda *arguments: (0, False))
    assert counted == diagnose(io.BytesIO(log), "x")
