"""Settings for every test of the checkout. The options and fixtures come from the plugin, ``harness.plugin``."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures import fork_server, sampled

# One thread a process: cases are small, and xdist's workers would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Three tenths of the time of all tests, by a run's JUnit file; one test alone takes a twentieth.
LONGEST = (
    "test_vllm_releases", "test_flashinfer", "test_flashinfer_experts", "test_misbehaving", "test_packages", "test_triton",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """What of the tests is asked for, since it takes minutes and the package index."""
    parser.addoption(
        "--releases",
        nargs="?",
        const="all",
        choices=("few", "all"),
        help="judge releases of vLLM and SGLang whole; fetch what is not cached (docs/how-to/vllm-releases.md); few: one of vLLM",
    )
    parser.addoption("--whole", action="store_true", help="run also what is left out because neighbours of it are run")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the checkout's own marker; the plugin declares those of the matrix."""
    config.addinivalue_line("markers", sampled.MARKER)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Under ``-k padding``, import only the matrix: elsewhere a test has that word by chance, and importing torch costs a second."""
    if not _matrix_alone(config) or collection_path.suffix != ".py":
        return None
    is_matrix = collection_path.parent.name == "padding" and re.search(
        r"def test_\w*padding", collection_path.read_text("utf-8")
    )
    return None if is_matrix else True


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Leave out what is left to ``--whole``, and begin with the modules whose tests take longest, as they stand in ``LONGEST``.

    Begun late, one of them would keep a worker busy when the others have no test left to take over.
    """
    sampled.thin_out(items, config)
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under ``-k padding``, leave out hypothesis's summary: no test used it, and to say nothing it imports all of itself."""
    if _matrix_alone(session.config):
        session.config.pluginmanager.unregister(name="hypothesispytest")


def _matrix_alone(config: pytest.Config) -> bool:
    words = config.option.keyword.split()
    everywhere = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return everywhere and "padding" in words and not {"or", "not"} & set(words)


@pytest.fixture(scope="module")
def forked_python() -> Iterator[None]:
    """The processes that a module's tests start by ``sys.executable`` fork from one that has imported torch and the harness."""
    with _executable(fork_server.python):
        yield


@pytest.fixture
def signals_that_end() -> Iterator[None]:
    """SIGINT and SIGHUP end the processes that a test starts, where the tests run under nohup or in the background too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def forked_here() -> Iterator[None]:
    """``forked_python`` for one test, where others of its module need processes that begin with nothing."""
    with _executable(fork_server.python):
        yield


@pytest.fixture(scope="module")
def forked_scripts() -> Iterator[None]:
    """The scripts that a module's tests run by ``sys.executable`` fork from a process that has imported torch alone."""
    with _executable(fork_server.script_python):
        yield


@contextmanager
def _executable(python: Callable[[], str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(os, "pidfd_open"):  # Linux; elsewhere they take longer
            patch.setattr(sys, "executable", python())
        yield
