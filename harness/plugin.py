"""The pytest plugin: options, markers, and the matrix for any test that asks for ``padding_case`` and ``mode``.

Collecting imports no torch; the fixtures that judge do.
"""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from harness.base.errors import BadInput
from harness.base.options import add_selection, add_waivers, refuse_workers
from harness.base.project import find
from harness.matrix.modes import PROOF
from harness.matrix.selection import Selection
from harness.subjects.load import load_subject
from harness.verdict.waivers import Waivers
from harness.workers.pool import has_cuda

if TYPE_CHECKING:
    from harness.findings.finding import Verdict
    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo

    Judge = Callable[[Case, ModeInfo], Verdict]

_SELECTION = pytest.StashKey[Selection]()
_WAIVERS = pytest.StashKey[Waivers]()
_WORKERS_SENT = "harness_waivers"  # what a worker of xdist tells its controller
MARKERS = ("gpu: needs a CUDA device", "slow: takes more than ten seconds")
XDIST_GROUP = "xdist_group(name): goes to one worker of pytest-xdist, where that is installed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that ``harness check`` has too, in a group of their own."""
    group = parser.getgroup("harness", "padded MoE harness")

    def add(option: str, **settings: Any) -> None:
        kind = settings.pop("type", None)
        if kind is not None:
            settings["type"] = _typed(kind)
        group.addoption(option, **settings)

    add_selection(add)
    add_waivers(add)


def _typed(kind: Callable[[str], object]) -> Callable[[str], object]:
    """Keep an error as the option's value until ``pytest_configure``: an exit while parsing would be a traceback."""

    def convert(text: str) -> object:
        try:
            return kind(text)
        except argparse.ArgumentTypeError as error:
            return BadInput(str(error))

    return convert


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and check the options before anything is collected; bad input ends with exit code 2."""
    markers = MARKERS if config.pluginmanager.hasplugin("xdist") else (*MARKERS, XDIST_GROUP)
    for marker in markers:
        config.addinivalue_line("markers", marker)
    options = config.option
    try:
        selection = _selection(options)
        if selection.full:
            refuse_workers(getattr(options, "numprocesses", None) or 1)  # xdist's
        selection.tasks()
        given = options.waivers
        waivers = Waivers.read(given if given is not None else find(config.rootpath).waivers)
        if options.subject != "in-tree":  # loaded here already: a worker of xdist could not say what is wrong with it
            project = find(config.rootpath)
            load_subject(project.subject(options.subject), project.path)
    except BadInput as error:
        pytest.exit(f"harness: {error}", returncode=2)
    config.stash[_SELECTION] = selection
    config.stash[_WAIVERS] = waivers


def _selection(options: argparse.Namespace) -> Selection:
    chosen = {name: getattr(options, name) for name in ("models", "hidden", "tokens", "modes", "full")}
    for name, value in chosen.items():
        if isinstance(value, BadInput):
            raise BadInput(f"--{name}: {value}")
    return Selection(**chosen, proofs=not chosen["hidden"], cuda=has_cuda())  # a proof asks about every hidden size


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize ``padding_case`` and ``mode`` with the chosen matrix; cases of one model stay on one xdist worker."""
    if "padding_case" not in metafunc.fixturenames or "mode" not in metafunc.fixturenames:
        return
    selection = metafunc.config.stash[_SELECTION]
    metafunc.parametrize(
        ("padding_case", "mode"),
        [
            pytest.param(case, mode, id=f"{case.id}-mode={mode.name}", marks=_marks(case, mode))
            for case, mode in selection.tasks()
        ],
    )


def _marks(case: "Case", mode: "ModeInfo") -> list[pytest.MarkDecorator]:
    gpu = [pytest.mark.gpu] if mode is not PROOF and has_cuda() else []  # a proof runs on the CPU
    return [pytest.mark.xdist_group(case.model), *gpu]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells which waivers matched there."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_WORKERS_SENT] = session.config.stash[_WAIVERS].told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker told; one that crashed tells nothing."""
    told = getattr(node, "workeroutput", {})
    node.config.stash[_WAIVERS].add(told.get(_WORKERS_SENT, [0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the waivers that matched nothing. No warning: where warnings are errors it would fail the run."""
    for line in config.stash.get(_WAIVERS, Waivers()).idle():
        terminalreporter.write_line(f"harness: {line}", yellow=True)


@pytest.fixture(scope="session")
def judge_case(request: pytest.FixtureRequest) -> "Judge":
    """A function from a case and a mode to the verdict on the chosen subject, on the GPU where there is one."""
    from harness.execution.device import choose_device
    from harness.verdict.bisect import name_blame
    from harness.verdict.judge import judge

    name = request.config.option.subject
    project = find(request.config.rootpath)
    try:
        subject = load_subject(project.subject(name), project.path)
    except BadInput as error:
        pytest.exit(f"harness: {error}", returncode=2)
    device = choose_device("auto")
    return lambda case, mode: name_blame(judge(subject, case, mode, device, name), subject, case, mode, device)


@pytest.fixture
def hold(judge_case: "Judge", request: pytest.FixtureRequest) -> "Callable[[Case, ModeInfo], Verdict]":
    """Judge a case, note it in the JUnit properties, and fail with the one message, or skip or xfail with the reason."""
    from harness.output.report import issues_of, verdict_text, where

    def check(case: "Case", mode: "ModeInfo") -> "Verdict":
        verdict = request.config.stash[_WAIVERS].apply(judge_case(case, mode))
        noted = {"hidden": case.hidden, "padded": case.padded, "mode": mode.name, "verdict": verdict.status}
        noted["emulated"] = verdict.emulated
        noted |= {"waiver": issues} if (issues := issues_of([verdict])) else {}
        request.node.user_properties += noted.items()  # record_property warns, and so fails, in JUnit's default family
        if verdict.status == "skipped":
            pytest.skip(verdict.reason)
        if verdict.status == "waived":
            pytest.xfail(verdict.reason)
        if not verdict.ok:
            told = f"{verdict_text(verdict, request.config.option.verbose)}\n{where([verdict])}"
            pytest.fail(told.rstrip(), pytrace=False)
        return verdict

    return check
