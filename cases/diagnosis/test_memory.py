"""Lines that differ in the numbers before their text are read once, and told as if each had been read."""

import io
import itertools
import re

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.known.kinds import kinds
from harness.diagnosis.known.patterns import _compiled
from harness.diagnosis.log.again import memory
from harness.diagnosis.log.again.words import Known
from harness.diagnosis.log.escapes import chunk_without_codes, without_colours
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.lines import LineReader
from harness.diagnosis.log.marks import Places
from harness.diagnosis.log.stream import Failures

FAILURE = """\
Traceback (most recent call last):
  File "/app/engine/moe.py", line {line}, in forward
    return shared_out + routed_out
RuntimeError: The size of tensor a ({narrow}) must match the size of tensor b ({wide}) at non-singleton dimension 1
"""
PREFIXES = (
    "(Worker_TP{rank} pid={pid}) ERROR 11-29 01:02:{second:02d} [core.py:{pid}] ",
    "[rank{rank}]: ",
    "[rank{rank}]: W1129 01:02:{second:02d}.123000 {pid} torch/_dynamo/convert_frame.py:1358] [{rank}/8] ",
    "2026-11-29 01:02:{second:02d},{pid:03d} - engine{rank} - ERROR - ",
    "worker-{rank}-{rank} | ",
    "\x1b[3{rank}m{pid} ",
    "",
)


def log(prefix: str, count: int = 40) -> str:
    """Failures of several processes, widths and lines, each line with its prefix."""
    found = []
    for number in range(count):
        text = FAILURE.format(line=40 + number % 3, narrow=(2688, 2880)[number % 2], wide=(2816, 3072)[number % 2])
        head = prefix.format(rank=number % 4, pid=500 + number, second=number % 60)
        found += [head + line for line in text.splitlines()]
    return "\n".join(found) + "\n"


def failures(text: str) -> list[Failure]:
    found = Failures()
    return [*found.read(text.encode()), *found.end()]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_is_remembered_is_what_would_be_read(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = failures(log(prefix))
    monkeypatch.setattr(memory.Memory, "get", lambda self, raw, number: None)
    assert failures(log(prefix)) == quick
    assert len(quick) > 1


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_answer_is_the_same(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = diagnose(io.BytesIO(log(prefix).encode()), "log")
    monkeypatch.setattr(memory.Memory, "get", lambda self, raw, number: None)
    assert diagnose(io.BytesIO(log(prefix).encode()), "log") == quick


@pytest.mark.parametrize("prefix", PREFIXES)
def test_each_line_has_its_own_number_writer_and_text(prefix: str) -> None:
    kept, reader = memory.Memory(), LineReader()
    for number, raw in enumerate(log(prefix, 200).splitlines(), 1):
        (line,) = reader.read(number, raw)
        known = kept.get(raw.encode(), number)
        assert known is None or known == (line, False)
        kept.keep(raw.encode(), line, False)


def test_a_writer_that_may_stand_at_two_places_is_not_guessed() -> None:
    kept, reader = memory.Memory(), LineReader()
    raws = [f"[rank{rank}]: [rank{other}]: a text" for rank, other in itertools.product(range(3), repeat=2)]
    for number, raw in enumerate(raws, 1):
        (line,) = reader.read(number, raw)
        known = kept.get(raw.encode(), number)
        assert known is None or known[0] == line
        kept.keep(raw.encode(), line, False)


def test_terminal_codes_of_a_chunk_are_those_of_its_lines() -> None:
    codes = ["\x1b[31m", "\x1b[0m", "\x1b[1;38;5;9m", "\x1b]8;;http://a\x07", "\x1b]0;title\x1b\\", "\x1b(B", "\x1bM"]
    codes += ["\x1b[", "\x1b]"]
    lines = [f"{one}Runtime{two}Error: {one}x{two}" for one, two in itertools.product(codes, repeat=2)]
    done = chunk_without_codes("\n".join(lines).encode()).decode().split("\n")
    assert [without_colours(line) for line in done] == [without_colours(line) for line in lines]


def test_every_pattern_is_a_regular_expression() -> None:
    patterns = [pattern for kind in kinds() for pattern in kind.patterns]
    forms = [form for pattern in patterns for form in (pattern.spaced, pattern.compact)]
    assert all(isinstance(_compiled(form), re.Pattern) for form in forms)
    assert len(forms) > 100


def test_the_places_of_words_are_those_of_a_plain_search() -> None:
    words = [b"size", b"got 16", b"16 of", b"siz", b"Error"]
    known = Known(words)
    for start in range(3):
        lines = [f"{n} {'size' * (n % 3)} got {n % 20} of {'Error' * (n % 7 == 0)} it" for n in range(start, 4000)]
        chunk = "\n".join(lines).encode()
        found = sorted(
            (found.start(), number)
            for number, word in enumerate(words)
            for found in re.finditer(b"(?=" + word + b")", chunk)
        )
        assert known.places(chunk) == found
        hits, places = Places(chunk, known), [place for place, _ in found]
        asked = [*range(0, len(chunk), 997), 0, len(chunk) // 2]
        assert [hits.next(place) for place in asked] == [
            next((at for at in places if at >= place), -1) for place in asked
        ]
