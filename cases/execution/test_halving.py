"""Halving finds the two neighbouring sizes between which a property ends, and asks few times."""

import pytest

from harness.base.halving import last_and_next


@pytest.mark.parametrize(("last", "least", "most", "step"), [(3, 0, 8, 1), (0, 0, 8, 1), (7, 0, 8, 1), (12, 4, 64, 4)])
def test_the_last_size_that_holds_and_the_next(last: int, least: int, most: int, step: int) -> None:
    asked: list[int] = []

    def holds(size: int) -> bool:
        asked.append(size)
        return size <= last

    assert last_and_next(holds, least, most, step) == (last, last + step)
    assert least not in asked
    assert most not in asked
    assert len(asked) <= 4


def test_neighbours_are_asked_nothing() -> None:
    assert last_and_next(lambda size: pytest.fail("asked"), 7, 8) == (7, 8)
