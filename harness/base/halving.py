"""Halving: where a property ends between a size that has it and one that does not."""

from collections.abc import Callable


def last_and_next(holds: Callable[[int], bool], least: int, most: int, step: int = 1) -> tuple[int, int]:
    """Two neighbouring sizes, ``step`` apart, of which ``holds`` is true of the first alone.

    ``holds`` is taken to be true of ``least`` and false of ``most``, and is asked of neither.
    """
    while most - least > step:
        middle = least + (most - least) // (2 * step) * step
        least, most = (middle, most) if holds(middle) else (least, middle)
    return least, most
