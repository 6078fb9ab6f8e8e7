"""What one layer leaves in the process is put back, so that it does not colour the verdict of the next one."""

import builtins
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules import module as modules

from fixtures.planting import SMALL, Planted
from harness.execution.pinned import pinned
from harness.execution.state.python_state import PythonState
from harness.execution.state.threads import users_threads
from harness.findings.finding import OK
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
FILES = resource.RLIMIT_NOFILE


def _raises(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("of the layer before")


def _few_files() -> None:
    resource.setrlimit(FILES, (64, resource.getrlimit(FILES)[1]))


def _stdout() -> None:
    sys.stdout = None  # type: ignore[assignment]


def _change_fault_handler() -> None:
    faulthandler.disable() if faulthandler.is_enabled() else faulthandler.enable()


def _path() -> None:
    sys.path.clear()


def _sorted() -> None:
    builtins.sorted = _raises


def _simdlen() -> None:
    inductor: Any = sys.modules["torch._inductor.config"]
    inductor.cpp.simdlen = 1


def _suppress() -> None:
    torch._dynamo.config.suppress_errors = True


def _stance() -> Any:
    dynamo: Any = torch._dynamo
    return dynamo.eval_frame._stance


# name: (what a layer does, what reads it)
LEFT: dict[str, tuple[Callable[[], object], Callable[[], Any]]] = {
    "recursion limit": (lambda: sys.setrecursionlimit(800), sys.getrecursionlimit),
    "switch interval": (lambda: sys.setswitchinterval(1.0), sys.getswitchinterval),
    "alarm": (lambda: signal.alarm(1000), lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 900),
    "timer": (lambda: signal.setitimer(signal.ITIMER_PROF, 900), lambda: signal.getitimer(signal.ITIMER_PROF)),
    "handler": (lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN), lambda: signal.getsignal(signal.SIGCHLD)),
    "umask": (lambda: os.umask(0o777), lambda: (mask := os.umask(0o22), os.umask(mask))[0]),
    "limit of files": (_few_files, lambda: resource.getrlimit(FILES)),
    "standard output": (_stdout, lambda: id(sys.stdout)),
    "import path": (_path, lambda: list(sys.path)),
    "built-in function": (_sorted, lambda: id(builtins.sorted)),
    "function of a module": (lambda: setattr(time, "time", _raises), lambda: id(time.time)),
    "fault handler": (_change_fault_handler, faulthandler.is_enabled),
    "hook": (lambda: setattr(threading, "excepthook", _raises), lambda: id(threading.excepthook)),
    "garbage collector": (lambda: gc.set_threshold(1), gc.get_threshold),
    "module hook": (
        lambda: modules.register_module_forward_hook(_raises),
        lambda: list(modules._global_forward_hooks),
    ),
    "Inductor's setting": (_simdlen, lambda: getattr(torch._inductor.config.cpp, "simdlen", None)),
    "Dynamo's setting": (_suppress, lambda: torch._dynamo.config.suppress_errors),
    "stance": (lambda: torch.compiler.set_stance("force_eager"), _stance),
    "autocast dtype": (
        lambda: torch.set_autocast_dtype("cpu", torch.float16),
        lambda: torch.get_autocast_dtype("cpu"),
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_a_layer_leaves_is_put_back(name: str) -> None:
    leave, read = LEFT[name]
    before = read()
    with pinned():
        leave()
        assert read() != before
    assert read() == before


def test_a_function_that_is_replaced_is_named() -> None:
    state, real = PythonState(), os.path.exists
    time.monotonic = lambda: 0.0
    assert state.restore() == ("the function time.monotonic",)
    assert time.monotonic() > 0
    assert os.path.exists is real


def test_a_timer_that_runs_goes_on() -> None:
    """Such as the one that limits a test."""
    earlier = signal.getitimer(signal.ITIMER_VIRTUAL)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    try:
        state = PythonState()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        assert state.restore() == ("the timers of signals",)
        assert 990 < signal.getitimer(signal.ITIMER_VIRTUAL)[0] < 1001
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, *earlier)


def test_what_a_layer_adds_to_the_import_path_stays() -> None:
    state = PythonState()
    sys.path.append("added-by-an-import")
    try:
        assert not state.restore()
        assert sys.path[-1] == "added-by-an-import"
    finally:
        sys.path.remove("added-by-an-import")


def test_graphs_of_earlier_verdicts_do_not_count_towards_the_limit_of_recompiles() -> None:
    """As where the owner of a layer compiled it, and each case is a graph of its own."""
    limit = 8  # pinned
    double = torch.compile(lambda x: x * 2, backend="eager", dynamic=False)
    for rows in range(1, limit + 3):
        with pinned():
            assert double(torch.ones(rows)).shape == (rows,)


def test_a_thread_that_runs_on_in_a_users_code_is_seen_and_one_of_a_pool_is_not() -> None:
    end = threading.Event()

    def runs_on() -> None:
        end.wait()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(len, ()).result()
        before = users_threads()
        thread = threading.Thread(target=runs_on)
        thread.start()
        try:
            assert users_threads() == before + 1
        finally:
            end.set()
            thread.join()
        assert users_threads() == before


def test_a_thread_of_an_installed_package_is_not_a_users_unless_the_package_is(tmp_path: Path) -> None:
    file = tmp_path / "site-packages" / "progress" / "monitor.py"
    code = compile("def watch(end): end.wait()", str(file), "exec")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    end = threading.Event()
    before = users_threads()
    thread = threading.Thread(target=namespace["watch"], args=(end,))
    thread.start()
    try:
        assert users_threads() == users_threads("another") == before
        assert users_threads("progress") == before + 1
    finally:
        end.set()
        thread.join()


class Alarms(PaddedMoELayer):
    """Sets a timer whose handler raises in whatever runs a moment later."""

    def pad(self, x: Tensor) -> Tensor:
        signal.signal(signal.SIGPROF, _raises)
        signal.setitimer(signal.ITIMER_PROF, 0.4)
        return super().pad(x)


def test_the_verdict_after_a_layer_that_set_an_alarm_is_ok() -> None:
    judge(Planted(layer=Alarms), SMALL, MODES["fake"], CPU)
    verdicts = [judge(Planted(), SMALL, MODES["eager"], CPU) for _ in range(12)]
    assert {verdict.status for verdict in verdicts} == {OK}
