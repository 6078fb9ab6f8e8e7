"""Turning logging off: torch logs errors that the harness expects and reports itself."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Turn all logging off inside a ``with`` block.

    FakeTensorMode logs a traceback for each shape error, even one that is caught. Dynamo's structured trace is
    thousands of records, which pytest would keep. Each change of a level clears the caches of every logger, which costs
    about a millisecond a verdict: so one switch for all loggers, and no change where logging is off already.
    """
    before = logging.root.manager.disable
    if before >= logging.CRITICAL:
        yield
        return
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def quiet_until_exit() -> None:
    """Turn all logging off until the process ends."""
    logging.disable(logging.CRITICAL)
