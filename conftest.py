"""Settings for every test of the checkout. The options and fixtures come from the plugin, ``harness.plugin``."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import fork_server

# One thread a process: cases are small, and xdist's workers would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What of the tests is asked for, since it takes minutes and the package index."""
    parser.addoption(
        "--releases",
        action="store_true",
        help="judge releases of vLLM and SGLang whole; fetch what is not cached (docs/how-to/vllm-releases.md)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Under ``-k padding``, import only the matrix: elsewhere a test has that word by chance, and importing torch costs a second."""
    words = config.option.keyword.split()
    everywhere = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not everywhere or "padding" not in words or {"or", "not"} & set(words) or collection_path.suffix != ".py":
        return None
    is_matrix = collection_path.parent.name == "padding" and re.search(
        r"def test_\w*padding", collection_path.read_text("utf-8")
    )
    return None if is_matrix else True


@pytest.fixture(scope="module")
def forked_python() -> Iterator[None]:
    """The processes that a module's tests start by ``sys.executable`` fork from one that has imported torch."""
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(os, "pidfd_open"):  # Linux; elsewhere they take longer
            patch.setattr(sys, "executable", fork_server.python())
        yield
