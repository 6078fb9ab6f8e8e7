"""Lines that stand in JSON objects are read once, and told as if each had been read."""

import io
import json
from random import Random

import pytest

from fixtures.failure_texts import TEXTS
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.log.again.carried import Carried
from harness.diagnosis.log.again.words import Known
from harness.diagnosis.log.lines import LineReader
from harness.diagnosis.log.stream import Failures

FAILURE = """\
Traceback (most recent call last):
  File "/app/engine/moe.py", line {line}, in forward
    return shared_out + routed_out
RuntimeError: The size of tensor a ({narrow}) must match the size of tensor b (2816) at non-singleton dimension 1
"""
TOLD = [FAILURE.format(line=line, narrow=narrow) for line in (41, 42) for narrow in (2688, 2880)]
# What only the lines in an object share.
DRESSED = [
    "".join(f"{dress}{line}\n" for line in TOLD[0].splitlines()) for dress in ("node7> ", "[rank1]: ", "acme-3 \u00d7 ")
]


def log_of(random: Random) -> str:
    found: list[str] = []
    for n in range(200):
        member = {
            "time": f"2026-11-29T01:00:{n % 60:02d}Z",
            "level": random.choice(("error", "info", "L1", "L2")),
            "rank": n % 8,
        }
        text = random.choice([*TOLD, *DRESSED, *(one.text for one in random.sample(TEXTS, 3))])
        if random.random() < 0.1:
            member["detail"] = {"more": random.choice(("a\nb1", "a\nb2"))}
        # The same text may stand before the object.
        before = json.dumps(random.choice(TOLD))[1:-1] + " " if random.random() < 0.3 else ""
        found.append(before + json.dumps({**member, "exc": text}, ensure_ascii=random.random() < 0.8) + "\n")
    return "".join(found)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_remembered_of_objects_is_what_would_be_read(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(Random(seed)).encode()
    quick = diagnose(io.BytesIO(log), "x")
    monkeypatch.setattr(Carried, "get", lambda self, raw, number: None)
    monkeypatch.setattr(LineReader, "_again", lambda self, number, text: None)
    assert diagnose(io.BytesIO(log), "x") == quick


def test_an_object_is_not_read_for_other_numbers_beside_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    once = LineReader.read
    monkeypatch.setattr(
        LineReader, "read", lambda self, number, raw, *rest: read.append(raw) or once(self, number, raw, *rest)
    )
    log = "".join(json.dumps({"req": 1000 + n, "level": "error", "exc": TOLD[n % 4]}) + "\n" for n in range(400))
    found = Failures()
    ended = [*found.read(log.encode()), *found.end()]
    assert len(ended) == 400
    assert [(one.first, one.last) for one in ended] == [(n, n) for n in range(1, 401)]
    assert len(read) < 20


def test_the_words_of_one_long_line_are_where_they_are() -> None:
    chunk = (r"got 16\n1\2nsize\n\\n" * 3 + "Error 7 got 16").encode()
    known, words = Known([b"got 16", b"size", b"Error"]), (b"got 16", b"size", b"Error")
    found = [
        (place, number)
        for number, word in enumerate(words)
        for place in range(len(chunk))
        if chunk.startswith(word, place)
    ]
    assert known.places(chunk * 1) == sorted(found)
