"""Silence for logs that torch writes about errors we expect and report ourselves."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# FakeTensorMode logs a traceback for each shape error even when it is caught; Dynamo and AOTAutograd warn of caches;
# the structured trace is thousands of records that pytest would format and keep.
_LOGGERS = ("torch._subclasses.fake_tensor", "torch._dynamo", "torch._functorch", "torch._inductor", "torch.fx", "torch.__trace")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence those loggers for the length of a ``with`` block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
