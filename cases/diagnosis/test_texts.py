"""Pasted texts: the answer to each, and that what a log puts before and around it changes nothing."""

import io
import re
from functools import cache

import pytest

from fixtures.dresses import DRESSES, wrapped
from fixtures.failure_texts import TEXTS, Text
from fixtures.no_failures import NO_FAILURES
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis, Report
from harness.diagnosis.known.kinds import kinds
from harness.diagnosis.known.relatives import bugs
from harness.diagnosis.readers import READERS
from harness.diagnosis.render import rendered


def report_of(text: str | bytes) -> Report:
    return diagnose(io.BytesIO(text.encode() if isinstance(text, str) else text), "a log")


def shown(report: Report) -> str:
    return "\n".join("".join(part for _, part in line) for line in rendered(report))


Gist = list[tuple[str, str, list[int], int | None, str, str]]


def _place(user_line: str) -> str:
    """File and line of the user's line, without its code."""
    return user_line.partition(": ")[0]


def gist(report: Report) -> Gist:
    return [
        (one.kind, one.verdict, sorted(width.size for width in one.widths), one.padded, one.op, _place(one.user_line))
        for one in report.failures
    ]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_a_text_has_its_answer(text: Text) -> None:
    report = report_of(text.text)
    (one,) = report.failures
    assert (one.kind, one.verdict) == (text.kind, text.verdict)
    assert tuple(sorted(width.size for width in one.widths)) == text.sizes
    assert (one.padded or 0) == text.padded
    answer = shown(report)
    assert [words for words in text.says if words not in answer] == []
    assert [words for words in text.never if words in answer] == []
    assert report.exit_code == (1 if text.verdict == "other" else 0)


# Frames before a text that has none: the user's line has to be found in every dress as well.
FRAMES = """Traceback (most recent call last):
  File "/opt/venv/lib/python3.12/site-packages/torch/nn/modules/module.py", line 1775, in _call_impl
    return forward_call(*args, **kwargs)
  File "/opt/venv/lib/python3.12/site-packages/acme/model_executor/layers/fused_moe/runner/moe_runner.py", line 402, in forward
    return shared_output + fused_output
           ~~~~~~~~~~~~~~^~~~~~~~~~~~~~
"""
# Texts that are in a dress already: a second one is another text.
DRESSED = re.compile(r"\A(?:(?:ERROR|INFO) \d|\[\d|\(Engine|W\d{4} )")
# A frame without indentation that a terminal cut, above lines that it cut as well.
MISSED = {
    "80 columns, quoted": {"input-of-a-cached-artefact"},
}


def framed(text: Text) -> str:
    """The text as whole lines, with frames where it starts with the exception's own line."""
    frames = FRAMES if re.match(r"[\w.]*(?:Error|Exception|Unsupported)\b", text.text) else ""
    return f"{frames}{text.text.rstrip()}\n"


# One text of each kind and answer: the others only differ in their words. An unknown exception without frames has no anchor.
FRAMED = {
    (text.kind, text.verdict): (text.name, framed(text))
    for text in TEXTS
    if not DRESSED.match(text.text) and (text.kind != "exception" or "File" in framed(text))
}.values()


@cache
def plain(text: str) -> Gist:
    return gist(report_of(text))


@pytest.mark.parametrize("dress", DRESSES)
def test_no_dress_changes_an_answer_or_the_users_line(dress: str) -> None:
    changed = {name for name, text in FRAMED if gist(report_of(DRESSES[dress](text))) != plain(text)}
    assert changed == MISSED.get(dress, set())


@pytest.mark.parametrize("name", NO_FAILURES)
def test_other_tools_have_no_failure(name: str) -> None:
    assert report_of(NO_FAILURES[name]).exit_code == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_other_encodings_change_no_answer(encoding: str) -> None:
    for text in TEXTS:
        assert gist(report_of(text.text.encode(encoding))) == gist(report_of(text.text))


def test_a_short_message_broken_at_any_column_is_understood() -> None:
    message = (
        "RuntimeError: The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1"
    )
    for width in range(30, len(message)):
        (one,) = report_of(wrapped(width)(message)).failures
        assert (one.kind, one.padded) == ("broadcast", 2816), width


def named(name: str) -> str:
    return next(text.text for text in TEXTS if text.name == name)


def test_several_failures_of_a_log_are_told_apart_this_family_first() -> None:
    noise = "INFO 11-26 20:03:01 [loggers.py:123] Engine 000: 0 requests\n" * 40
    report = report_of(noise.join(named(name) for name in ("module", "fake-too-wide", "memory", "add-eager")))
    assert [one.kind for one in report.failures] == [
        "size-stride-assert",
        "broadcast",
        "missing-module",
        "out-of-memory",
    ]
    lines = [one.line for one in report.failures]
    text = noise.join(named(name) for name in ("module", "fake-too-wide", "memory", "add-eager")).split("\n")
    assert "expected size" in text[lines[0] - 1]
    assert "size of tensor a" in text[lines[1] - 1]
    assert report.exit_code == 0


def test_processes_that_write_in_turn_are_one_failure_each() -> None:
    lines = named("view-in-a-collective").splitlines()
    mixed = "".join(f"(Worker_TP{rank} pid={rank}) {line}\n" for line in lines for rank in range(4))
    end = "RuntimeError: Engine core initialization failed. See root cause above.\n"
    (one,) = report_of(mixed + end).failures
    assert (one.kind, one.count, len(one.writers)) == ("view", 4, 4)
    assert "4 times, 4 processes" in shown(report_of(mixed))


def test_a_load_is_known_by_frames_below_a_title() -> None:
    title = "[Bug]: RuntimeError: The size of tensor a (3072) must match the size of tensor b (2688) at non-singleton dimension 1"
    frame = '(Worker_TP{0} pid={0}) ERROR 11-26 20:03:01 [a.py:7]   File "/a/layer.py", line 7, in {1}\n'
    below = frame.format(0, "weight_loader") + frame.format(1, "_load_w2")
    (alone,) = report_of(f"{title}\n").failures
    (loaded,) = report_of(f"{title}\n\n{below}").failures
    (forward,) = report_of(
        f"{title}\n\n{below.replace('_load_w2', 'forward').replace('weight_loader', 'run')}"
    ).failures
    assert loaded.stage == "load of the weights"
    assert alone.stage == forward.stage != loaded.stage


def test_a_chain_of_exceptions_is_one_failure() -> None:
    chain = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\nTypeError: gemm_fake() missing 1 required positional '
        "argument: 'eps'\n\nThe above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "b.py", line 2, in g\ntorch._dynamo.exc.Unsupported: TypeError when making '
        "fake tensor call\n"
    )
    assert [one.kind for one in report_of(chain).failures] == ["fake-lacks-default"]


def test_a_message_that_the_log_repeats_otherwise_is_one_failure() -> None:
    assert len(report_of(named("add-eager") + "\n" * 3 + named("add-traced")).failures) == 1


def test_a_warning_of_a_logger_is_no_failure() -> None:
    assert report_of("WARNING 11-26 20:03:01 [x.py:1] Failed to import vllm._C: undefined symbol: foo\n").failures == ()


def test_control_characters_of_a_log_are_escaped() -> None:
    text = shown(report_of("ValueError: \x07bad\x1b]0;title\x07 thing\x9b2J\n"))
    assert text.isprintable() or all(character.isprintable() or character == "\n" for character in text)


def test_every_reader_and_every_symptom_is_reached_by_a_text() -> None:
    found: list[Diagnosis] = [one for text in TEXTS for one in report_of(text.text).failures]
    relatives = {relative.id for one in found for relative in one.relatives}
    assert {bug.id for bug in bugs() if bug.symptoms} - relatives == set()
    used = {kind.id: kind for kind in kinds()}
    assert {kind.reader for kind in used.values()} == set(READERS)
    assert {used[one.kind].reader for one in found if one.kind in used} == set(READERS)


def test_the_data_names_what_there_is() -> None:
    ids = [kind.id for kind in kinds()]
    assert len(ids) == len(set(ids))
    assert len({bug.id for bug in bugs()}) == len(bugs())
    assert {kind for bug in bugs() for symptom in bug.symptoms for kind in symptom.kinds} <= set(ids)
