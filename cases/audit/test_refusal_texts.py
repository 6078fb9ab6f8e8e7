"""What a refusal says: its text, what the text announces, its place where it says nothing, and what it was raised from."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.base.exception_text import is_own_refusal, refusal_text, with_cause


def raised(body: Callable[[], Any]) -> str:
    try:
        body()
    except Exception as error:
        return refusal_text(error)
    raise AssertionError("it raises nothing")


def test_a_refusal_that_says_nothing_has_its_place() -> None:
    def bare() -> None:
        raise AssertionError

    def key() -> None:
        {}["block_m"]

    def plain() -> None:
        raise ValueError("expected two sizes")

    def announced() -> None:
        raise RuntimeError("Error parsing the template:\n  line 3: expected a type\n")

    place = r"\(\S*test_refusal_texts.py:\d+: "
    assert re.fullmatch(rf"AssertionError: AssertionError {place}raise AssertionError\)", raised(bare))
    assert re.fullmatch(rf"KeyError: 'block_m' {place}\S*\)", raised(key))
    assert raised(plain) == "ValueError: expected two sizes"
    assert raised(announced) == "RuntimeError: Error parsing the template: line 3: expected a type"


def test_what_an_exception_was_raised_from_is_named() -> None:
    def load() -> None:
        try:
            raise OSError("libc10_cuda.so: cannot open shared object file")
        except OSError as error:
            raise OSError("Could not load this library: _C.so") from error

    with pytest.raises(OSError, match=r"_C\.so") as caught:
        load()
    assert with_cause(caught.value).endswith("; raised from OSError: libc10_cuda.so: cannot open shared object file")


def test_a_check_is_a_refusal_of_whose_code_makes_it() -> None:
    with pytest.raises(RuntimeError) as own:
        torch._check(not bool(torch.ones(1)), lambda: "at most two rows")
    with pytest.raises(RuntimeError) as torchs:
        torch._meta_registrations.meta_mm(torch.ones(4, 5), torch.ones(4, 5))
    assert (is_own_refusal(own.value), is_own_refusal(torchs.value)) == (True, False)
