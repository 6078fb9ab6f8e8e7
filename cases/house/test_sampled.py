"""What a run leaves to ``--whole``: every n-th case of a marked test stays, and all where a test is named."""

from collections.abc import Callable

import pytest

from fixtures.imports import ROOT

pytest_plugins = ["pytester"]

TESTS = """\
import pytest

@pytest.mark.sampled(3)
@pytest.mark.parametrize("n", range(7))
def test_costly(n: int) -> None: ...

@pytest.mark.parametrize("case", [pytest.param(n, marks=pytest.mark.sampled(2) if n < 4 else ()) for n in range(6)])
def test_partly(case: int) -> None: ...

@pytest.mark.parametrize("case", [*"abcdef", *(f"{n}-{mode}" for n in range(6) for mode in ("compiled-static", "proof"))])
def test_padding(case: str) -> None: ...
"""
FEW = ["costly[0]", "costly[3]", "costly[6]", "partly[0]", "partly[2]", "partly[4]", "partly[5]"]
FEW += ["padding[a]", "padding[f]", "padding[0-compiled-static]", "padding[5-proof]"]


@pytest.fixture
def collected(pytester: pytest.Pytester) -> Callable[..., list[str]]:
    """The cases that a run with some arguments would do."""
    pytester.makeconftest((ROOT / "conftest.py").read_text("utf-8"))
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(TESTS)

    def ids(*arguments: str) -> list[str]:
        result = pytester.runpytest_inprocess("--collect-only", "-q", "-p", "no:harness", *arguments)
        return [line.partition("::test_")[2] for line in result.outlines if "::test_" in line]

    return ids


def test_every_nth_case_stays(collected: Callable[..., list[str]]) -> None:
    assert collected() == FEW


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--whole"], 31),
        (["-k", "costly"], 7),
        (["test_every_case_where_it_is_asked_for.py::test_costly[1]"], 1),
    ],
    ids=["whole", "by word", "by name"],
)
def test_every_case_where_it_is_asked_for(
    arguments: list[str], count: int, collected: Callable[..., list[str]]
) -> None:
    assert len(collected(*arguments)) == count
