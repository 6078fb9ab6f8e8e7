"""The Python that forks: a process of it has the arguments, environment, folder and end of one of Python itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures import fork_server

pytestmark = [
    pytest.mark.usefixtures("forked_python"),
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux"),
]
SEES = "import json, os, sys; print(json.dumps([os.getcwd(), sys.argv, sys.path[:2], os.environ.get('WORD'), input()]))"


def ran(code: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, "a", "b"], capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_it_has_imported_torch() -> None:
    assert ran("import sys; print('torch._inductor.compile_fx' in sys.modules)").stdout == "True\n"


def test_it_is_a_worker_of_xdist_too() -> None:
    code = "import sys; print('torch._inductor.compile_fx' in sys.modules, sys.argv[1:]); import os; os._exit(0)"
    done = subprocess.run([sys.executable, "-u", "-c", code, "a"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True ['a']\n"  # os._exit writes nothing that is still held: it was unbuffered


def test_it_sees_what_it_is_given(tmp_path: Path) -> None:
    # tox sets some of what Python reads when it starts; without it the process would get a Python of its own.
    started = {name: os.environ[name] for name in fork_server.READ_AT_START if name in os.environ}
    done = ran(SEES, cwd=tmp_path, env=started | {"WORD": "x", "PYTHONPATH": "/nowhere"}, input="typed\n")
    assert done.stdout == f'["{tmp_path}", ["-c", "a", "b"], ["", "/nowhere"], "x", "typed"]\n'


@pytest.mark.parametrize(
    ("code", "end", "text"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit('why')", 1, "why\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os; os.abort()", -6, ""),
        ("import os; os._exit(7)", 7, ""),
    ],
)
def test_it_ends_as_its_code_ends(code: str, end: int, text: str) -> None:
    done = ran(code)
    assert done.returncode == end
    assert text in done.stderr


def test_code_at_exit_and_threads_are_waited_for() -> None:
    code = "import atexit, threading, time; atexit.register(print, 'last')\n"
    code += "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start(); print('first')"
    assert ran(code).stdout.split() == ["first", "thread", "last"]


@pytest.mark.parametrize("kill", [subprocess.Popen.kill, subprocess.Popen.terminate])
def test_what_ends_it_ends_the_code(kill: object) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        kill(process)  # type: ignore[operator]
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_python_reads_some_settings_only_when_it_starts() -> None:
    done = ran("import sys; print('torch' in sys.modules, sys.stdout.encoding)", env={"PYTHONIOENCODING": "latin-1"})
    assert done.stdout.split() == ["False", "iso8859-1"]


def script(tmp_path: Path, code: str, *options: str, **more: object) -> "subprocess.CompletedProcess[str]":
    file = tmp_path / "script.py"
    file.write_text(code, "utf-8")
    command = [fork_server.script_python(), *options, str(file), "a", "b"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload,no-any-return]


def test_a_script_finds_torch_imported_and_nothing_of_the_checkout(tmp_path: Path) -> None:
    code = "import sys; print('torch._inductor.compile_fx' in sys.modules, [*filter(PARTS.__contains__, map(HEAD, sys.modules))])"
    code = code.replace("PARTS", "('harness', 'kernels', 'fixtures')").replace(
        "HEAD", "lambda name: name.partition('.')[0]"
    )
    assert script(tmp_path, code).stdout == "True []\n"


@pytest.mark.parametrize(("options", "found"), [((), True), (("-I",), False)])
def test_a_script_sees_its_folder_and_pythonpath_unless_it_is_isolated(
    options: tuple[str, ...], found: bool, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "beside.py").touch()
    (other / "on_path.py").touch()
    code = "import importlib.util as i, sys; print(sys.argv[1:], __name__, *[bool(i.find_spec(n)) for n in ('beside', 'on_path')])"
    done = script(tmp_path, code, *options, env=os.environ | {"PYTHONPATH": str(other)})
    assert done.stdout == f"['a', 'b'] __main__ {found} {found}\n", done.stderr


def test_a_script_ends_as_its_code_ends(tmp_path: Path) -> None:
    done = script(tmp_path, "def f():\n    raise ValueError('why')\n\nf()\n")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: why"
    assert 'script.py", line 2, in f' in done.stderr
    assert script(tmp_path, "import os; os.kill(os.getpid(), 9)").returncode == -9
