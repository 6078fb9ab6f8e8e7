"""Silence for what torch logs about errors we expect and report ourselves."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """No log record below and at CRITICAL for the length of a ``with`` block.

    FakeTensorMode logs a traceback for each shape error even when it is caught, and Dynamo's structured trace is
    thousands of records that pytest would keep. Silencing loggers one by one makes logging forget what it knows of all
    of them, each time: a millisecond a verdict. So does this, less often, and not at all in a process that is quiet.
    """
    kept = logging.root.manager.disable
    if kept >= logging.CRITICAL:
        yield
        return
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(kept)


def quiet_for_good() -> None:
    """The same until the process ends."""
    logging.disable(logging.CRITICAL)
