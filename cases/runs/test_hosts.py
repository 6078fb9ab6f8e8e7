"""`harness check --on`: shards on other machines make the verdicts of one run; a host that goes away costs its shard."""

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fixtures.imports import ROOT
from fixtures.recorded import lines, results
from harness.cli import main

FEW = [
    "check",
    "--models",
    "qwen3-30b-a3b",
    "--modes",
    "eager,fake",
    "--kernels",
    "wide",
    "--tp",
    "1,2",
    "--device",
    "cpu",
]
FEW += ["-j", "1"]
ONE = len(["eager", "fake", "fake-dynamic"]) * 2
PYTHON = f"python={sys.executable}"


def keys(file: Path) -> list[tuple[str, str]]:
    return sorted((one["case"], one["mode"]) for one in results(file))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's harness is that of the checkout, in whose folder it runs."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[str]:
    """An sshd on the loopback address, for this user alone; yields the rest of an ssh spec."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).exists() or not shutil.which("ssh"):
        pytest.skip("no sshd here: apt-get install openssh-server openssh-client")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={tmp_path}/host", "StrictModes=no", "UsePAM=no"]
    options += [f"AuthorizedKeysFile={tmp_path}/authorized", f"PidFile={tmp_path}/pid", "PasswordAuthentication=no"]
    options += ["PermitRootLogin=prohibit-password"]
    Path("/run/sshd").mkdir(exist_ok=True) if os.getuid() == 0 else None
    process = subprocess.Popen([server, "-D", "-e", "-f", "/dev/null", *(f"-o{one}" for one in options)], stderr=-3)
    settings = (
        f"Host loop*\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n IdentityFile {tmp_path}/user\n"
    )
    settings += " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n"
    (tmp_path / "config").write_text(settings)
    try:
        wait_until_it_listens(port)
        yield f"//{PYTHON}//ssh_config={tmp_path}/config"
    finally:
        process.terminate()
        process.wait(10)


def wait_until_it_listens(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip("sshd does not start here")


@pytest.mark.usefixtures("here")
def test_two_ssh_hosts_give_the_verdicts_of_one_run(
    sshd: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "records.jsonl"
    code = main([*FEW, "--on", f"ssh=loop1{sshd},ssh=loop2{sshd}", "--json", str(file)])
    output, errors = capsys.readouterr()
    assert code == 0, errors
    assert len(set(keys(file))) == len(keys(file)) == ONE
    runs = [line for line in lines(file) if line["record"] == "run"]
    assert sorted(run["shard"]["index"] for run in runs) == [1, 2]
    assert len({(run["batch"], run["planned"]["hash"]) for run in runs}) == 1
    assert f"{ONE} verdicts: {ONE} ok" in output
    assert main(["merge", str(file)]) == 0


@pytest.fixture(params=["popen", "ssh"])
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two hosts: one that stays, and one whose Python writes its process id to ``pid`` in the test's folder."""
    victim = tmp_path / "python"
    victim.write_text(f'#!/bin/sh\necho $$ > "{tmp_path}/pid-of-host"\nexec "{sys.executable}" "$@"\n')
    victim.chmod(0o755)
    if request.param == "popen":
        return "popen", f"popen//python={victim}"
    spec = request.getfixturevalue("sshd")
    return f"ssh=loop1{spec}", f"ssh=loop2{spec.replace(PYTHON, f'python={victim}')}"


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("here")
def test_a_host_that_goes_away_costs_its_shard_and_it_is_resumed(
    hosts: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "records.jsonl"

    def kill() -> None:
        """Kill the second host once it has judged something."""
        end = time.monotonic() + 200
        while time.monotonic() < end:
            shard = [line for line in _lines(file) if '"index": 2' in line[:2000] and '"record": "run"' in line[:20]]
            run = shard[0].split('"run": "')[1].split('"')[0] if shard else "none"
            if any(f'"run": "{run}"' in line and '"record": "verdict"' in line[:30] for line in _lines(file)):
                os.kill(int((tmp_path / "pid-of-host").read_text()), signal.SIGKILL)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    code = main([*FEW, "--on", ",".join(hosts), "--json", str(file)])
    killer.join()
    errors = capsys.readouterr().err
    assert code == 2, errors
    assert re.search(r"harness: shard 2/2 on (popen//python=|ssh=loop2)\S*: went away after ", errors)
    assert "incomplete: shard 2/2 of harness check on cpu (killed, or still running): " in errors
    assert "the same command with --shard I/N --resume" in errors
    assert main(["merge", str(file)]) == 2
    assert main([*FEW, "--shard", "2/2", "--resume", str(file)]) == 0
    assert len(set(keys(file))) == len(keys(file)) == ONE
    assert main(["merge", str(file)]) == 0


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("on", "words"),
    [
        ("popen//python=/nowhere/python", "cannot be reached"),
        ("ssh=", "cannot be reached"),
        ("host1", "expected ssh=HOST or popen"),
        (",", "names no host"),
    ],
)
def test_hosts_that_there_are_not(on: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--on", on]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "Traceback" not in errors


def test_options_that_do_not_go_with_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--on", "popen", "--shard", "1/2"]) == 2
    assert "--on runs all shards" in capsys.readouterr().err
