"""The last exception of a chain that says in words what the first is of is quoted; names before a pasted time are none of a line."""

import io

import pytest

from fixtures.diagnosing import diagnosis_of
from harness.diagnosis.diagnose import diagnose

CHAIN = """Traceback (most recent call last):
  File "/srv/rook/merge.py", line 12, in merge
    target[mask] = found
RuntimeError: shape mismatch: value tensor of shape [1920, 2048] cannot be broadcast to indexing result of shape [1792, 2048]

{link}

Traceback (most recent call last):
  File "/srv/rook/merge.py", line 19, in merge
    raise {name}(
{name}: {words}
"""
CAUSED = "The above exception was the direct cause of the following exception:"
WORDS = "found 1920 audio frames in the batch for 1792 places"


@pytest.mark.parametrize("name", ["ValueError", "rook.errors.MergeError"])
@pytest.mark.parametrize("link", [CAUSED, "During handling of the above exception, another exception occurred:"])
def test_its_words_are_quoted(name: str, link: str) -> None:
    assert f'"{WORDS}"' in diagnosis_of(CHAIN.format(name=name, link=link, words=WORDS)).cause


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RuntimeError", "worker 1920 failed, see the trace above for the root cause"),
        ("RuntimeError", "the engine has died"),
        ("torch._dynamo.exc.TorchRuntimeError", WORDS),
        ("ValueError", "the batch of this request is of no use"),
        ("ValueError", "1792"),
        ("ValueError", "merge: shape mismatch: value tensor of shape [1920, 2048] cannot be broadcast to it"),
    ],
)
def test_words_that_tell_no_more_are_not(name: str, words: str) -> None:
    assert "that it led to" not in diagnosis_of(CHAIN.format(name=name, link=CAUSED, words=words)).cause


LINES = (
    "___________________________ test_one ___________________________",
    "tests/test_rook.py:39: in test_one",
    "    out = out.view(num_tokens, HIDDEN)",
    "E   RuntimeError: shape '[11, 2688]' is invalid for input of size 33792",
    "___________________________ test_two ___________________________",
    "tests/test_rook.py:52: in test_two",
    "    return residual + out",
    "E   RuntimeError: The size of tensor a (2688) must match the size of tensor b (2816) at non-singleton dimension 1",
)


@pytest.mark.parametrize("apart", [" ", "  ", "      ", "\t"])
@pytest.mark.parametrize("names", [("gpu (3.12)", "Run tests"), ("lint", "pytest")])
def test_names_of_a_job_before_a_time_are_no_part_of_a_line(apart: str, names: tuple[str, str]) -> None:
    stamps = (f"2026-11-22T18:40:1{n}.105343{n}Z" for n in range(len(LINES)))
    text = "".join(f"{apart.join((*names, stamp))} {line}\n" for stamp, line in zip(stamps, LINES, strict=True))
    found = diagnose(io.BytesIO(text.encode()), "x").failures
    assert [one.user_line for one in found] == [
        "tests/test_rook.py:39: out = out.view(num_tokens, HIDDEN)",
        "tests/test_rook.py:52: return residual + out",
    ]
    assert not any("Z" in one.what or names[0] in one.what for one in found)
