"""The pytest plugin: options, markers, and the matrix for any test that asks for ``padding_case`` and ``mode``.

It does nothing in a session whose tests ask for none of its fixtures and that was given none of its options.
Collecting imports no torch; the fixtures that judge do.
"""

import os
import shlex
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from harness.base.errors import BadInput
from harness.base.exits import exits_raise
from harness.base.printable import printable
from harness.matrix.modes import PROOF
from harness.matrix.ranks import REAL
from harness.pytest_debugger import failing_padding_case
from harness.pytest_records import SessionRecords, attach, wanted
from harness.pytest_session import PREFIX, Session, add_options, id_of_test, prefixed
from harness.workers.pool import has_cuda

if TYPE_CHECKING:
    from harness.findings.finding import Verdict
    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo

    Judge = Callable[[Case, ModeInfo], Verdict]

_SESSION = pytest.StashKey[Session]()
_VERDICT = pytest.StashKey["Verdict"]()
_BY_MODEL = pytest.StashKey[bool]()
_WORKERS_SENT = "harness_waivers"  # what a worker of xdist tells its controller
MARKERS = ("gpu: needs a CUDA device", "multi_gpu: needs two CUDA devices or more", "slow: takes more than ten seconds")
XDIST_GROUP = "xdist_group(name): goes to one worker of pytest-xdist, where that is installed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that ``harness check`` has too, in a group of their own."""
    add_options(parser.getgroup("harness", "padded MoE harness"))


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Note, before xdist sets its default, whether the user chose how tests are dealt out to workers."""
    option = config.option
    unchosen = getattr(option, "dist", "") == "no" and not option.distload
    config.stash[_BY_MODEL] = unchosen and bool(Session(config).given or PREFIX in option.keyword)
    return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the cases of one model on one worker, where the session asks for such cases and the user chose nothing."""
    if not config.stash.get(_BY_MODEL, False):
        return None
    from harness.xdist_scheduler import ModelScheduling

    return ModelScheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers, and check the options that were typed; bad input ends with exit code 2."""
    _import_as_it_is(config)
    markers = MARKERS if config.pluginmanager.hasplugin("xdist") else (*MARKERS, XDIST_GROUP)
    for marker in markers:
        config.addinivalue_line("markers", marker)
    session = config.stash[_SESSION] = Session(config)
    try:
        if session.given or session.noted["json"] is not None:
            session.check()
    except BadInput as error:
        pytest.exit(f"harness: {error}", returncode=2)
    if wanted(config):
        config.pluginmanager.register(SessionRecords(session), "harness-records")


def _import_as_it_is(config: pytest.Config) -> None:
    """Import the rest of the harness without rewriting its asserts, as pytest does for all of a plugin's distribution.

    They are for type checkers. Rewriting three hundred modules takes a second wherever no compiled ones can be written.
    """
    marked: set[str] = getattr(getattr(config.pluginmanager, "rewrite_hook", None), "_must_rewrite", set())
    marked.discard("harness")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize ``padding_case`` and ``mode`` with the chosen matrix; cases of one model stay on one xdist worker."""
    if "padding_case" not in metafunc.fixturenames or "mode" not in metafunc.fixturenames:
        return
    tasks = metafunc.config.stash[_SESSION].tasks()
    metafunc.parametrize(
        ("padding_case", "mode"),
        [pytest.param(case, mode, id=id_of_test(case, mode), marks=_marks(case, mode)) for case, mode in tasks],
    )


def _marks(case: "Case", mode: "ModeInfo") -> list[pytest.MarkDecorator]:
    gpu = [pytest.mark.gpu] if mode is not PROOF and has_cuda() else []  # a proof runs on the CPU
    gpu += [pytest.mark.multi_gpu] if gpu and case.collective else []
    return [pytest.mark.xdist_group(case.model), *gpu]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Send a verdict with the report of its test."""
    report = yield
    if call.when == "call" and _VERDICT in item.stash:
        attach(report, item.stash[_VERDICT])
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist that judged something tells which waivers matched there."""
    config = session.config
    if hasattr(config, "workeroutput") and "waivers" in vars(config.stash[_SESSION]):
        config.workeroutput[_WORKERS_SENT] = config.stash[_SESSION].waivers.tally()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker told; one that judged nothing, or crashed, tells nothing."""
    tally = getattr(node, "workeroutput", {}).get(_WORKERS_SENT)
    if tally is not None:
        node.config.stash[_SESSION].waivers.add(tally)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the waivers that matched nothing. No warning: where warnings are errors it would fail the run."""
    session = config.stash.get(_SESSION, None)
    for line in session.unmatched() if session else ():
        terminalreporter.write_line(f"harness: {line}", yellow=True)


def _properties(case: "Case", verdict: "Verdict") -> dict[str, object]:
    """What a JUnit file notes of a verdict; a property that has no value there is left out."""
    from harness.output.report import issues_of

    noted = {"subject": verdict.subject, "model": case.model, "hidden": case.hidden, "padded": case.padded}
    noted |= {"rule": case.alignment.name, "kernel": case.kernel, "tp": case.tp, "tokens": case.tokens}
    noted |= {"mode": verdict.mode, "verdict": verdict.status, "emulated": verdict.emulated}
    found = {
        "kind": ", ".join(dict.fromkeys(finding.kind for finding in verdict.findings)),
        "waiver": issues_of([verdict]),
        "torch": verdict.environment.get("torch"),
        "reproduce": verdict.reproduce,
    }
    # torch's version is a class of its own, which xdist cannot send.
    return noted | {name: str(value) for name, value in found.items() if value}


@pytest.fixture(scope="session")
def judge_case(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> "Judge":
    """A function from a case and a mode to the verdict on the chosen subject, on the GPU where there is one.

    Where there is no subject to judge, or the waivers cannot be read, it fails the test that calls it, in one line.
    """
    try:
        session = pytestconfig.stash[_SESSION]
        return _judge_ranks(session, request) if session.selection.ranks == REAL else _judge(session)
    except BadInput as error:
        why = prefixed(f"harness: {error}")
        return lambda case, mode: pytest.fail(why, pytrace=False)


def _judge(session: Session) -> "Judge":
    from harness.execution.device import choose_device
    from harness.verdict.bisect import name_blame
    from harness.verdict.judge import judge

    name, subject, waivers, device = session.subject_name, session.subject, session.waivers, choose_device("auto")

    def judged(case: "Case", mode: "ModeInfo") -> "Verdict":
        session.runs = []
        runs = session.runs if session.debugs else None
        with exits_raise():  # else the layer would end pytest, and with its exit code
            verdict = judge(subject, case, mode, device, name, runs)
        return waivers.apply(name_blame(verdict, subject, case, mode, device))

    return judged


def _judge_ranks(session: Session, request: pytest.FixtureRequest) -> "Judge":
    """Judge on real ranks: processes that end with the session."""
    from harness.ranks.ranks_run import RankJudge

    waivers, ranks = session.waivers, RankJudge(session.plan)
    request.addfinalizer(ranks.close)
    return lambda case, mode: waivers.apply(ranks.judge(case, mode))


@pytest.fixture
def hold(judge_case: "Judge", request: pytest.FixtureRequest) -> "Judge":
    """Judge a case, note it in the JUnit properties, and fail with the one message, or skip or xfail with the reason."""
    from harness.output.report import verdict_text, where

    def check(case: "Case", mode: "ModeInfo") -> "Verdict":
        verdict = request.node.stash[_VERDICT] = judge_case(case, mode)
        # record_property warns, and so fails, in JUnit's default family.
        request.node.user_properties += _properties(case, verdict).items()
        if verdict.status == "skipped":
            pytest.skip(printable(verdict.reason))
        if verdict.status == "waived":
            pytest.xfail(printable(verdict.reason))
        if not verdict.ok:
            _remember(request.config, verdict)
            rows = [verdict_text(verdict, request.config.option.verbose), _in_pytest(request, case), where([verdict])]
            session = request.config.stash[_SESSION]
            if session.debugs and session.runs:  # real ranks ran in other processes
                failing_padding_case("\n".join(rows).rstrip(), case, verdict, session.runs)
            pytest.fail("\n".join(rows).rstrip(), pytrace=False)
        return verdict

    return check


def _remember(config: pytest.Config, verdict: "Verdict") -> None:
    """Note a failing verdict for `harness repro`; the workers of xdist share one run."""
    from harness.repro.last_run import remember

    own = getattr(config, "workerinput", {}).get("testrunuid") or f"{os.getpid()} {id(config)}"
    remember(config.stash[_SESSION].project.root, f"pytest {own}", [verdict])


def _in_pytest(request: pytest.FixtureRequest, case: "Case") -> str:
    """The line with the command that runs this test again; xdist's groups stand at the end of an id."""
    name = shlex.quote(request.node.nodeid.removesuffix(f"@{case.model}"))
    return f"  {'in pytest':<12}" + " ".join(["pytest", name, *request.config.stash[_SESSION].given])
