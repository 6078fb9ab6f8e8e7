"""Settings for every test of the checkout. The options and fixtures come from the plugin, ``harness.plugin``."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """One thread a process: cases are small, and xdist's workers would fight over the cores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
