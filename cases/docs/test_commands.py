"""Every command of every page: the command line accepts it, and it is run here, or the reason why not stands here.

``DOCS_LONG=1`` also runs those that take a minute or more.
"""

import os
import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from fixtures.docs.pages import PAGES, Shown, commands, shown
from fixtures.faults import compiler
from fixtures.imports import ROOT
from harness.cli import main, parser
from harness.findings.kinds import PAGE

pytestmark = pytest.mark.usefixtures("forked_python")

# Glob of a command: why no test runs it. A glob that matches no command of a page fails.
REASONS = {
    "python3 -m venv *": "fetches packages: these are the two commands of the README, which .ci/run runs",
    "pip install *": "fetches packages",
    "harness vllm *": "fetches releases: cases/engines/test_vllm_releases.py",
    "harness check *--subject vllm*": "fetches a release, or needs vLLM: cases/engines/test_vllm_releases.py",
    "harness sglang *": "fetches releases: cases/engines/test_sglang_releases.py",
    "harness check *--subject sglang*": "fetches a release, or needs SGLang: cases/engines/test_sglang_releases.py",
    "harness audit bitsandbytes==*": "fetches a package: cases/engines/test_packages.py",
    "harness audit comfy-kitchen*": "fetches a package: cases/engines/test_packages.py",
    "harness audit amd-quark==*": "fetches a package, which needs transformers",
    "harness audit deepspeed==*": "fetches a package, which compiles C++ when it is imported",
    "harness audit torchao==*": "fetches a package: cases/engines/test_packages.py",
    "harness check --subject transformers*": "needs transformers: cases/engines/test_transformers.py",
    "harness check --ranks real * --collectives raw_nccl": "needs two GPUs: cases/ranks/test_multi_gpu.py",
    "python -m fixtures.strided_view": "calls the collectives of two processes: cases/ranks/test_real_ranks.py",
    "python -m fixtures.strided_view --device cuda": "needs two GPUs: cases/ranks/test_multi_gpu.py",
    "python small.py": "names a file that the command before it writes: cases/docs/test_walk.py",
    "harness audit flashinfer*": "needs FlashInfer: cases/engines/test_flashinfer.py",
    "harness audit vllm==*": "fetches a release: three minutes of other people's ops",
    "harness audit sglang==*": "fetches a release: three minutes of other people's ops",
    "harness check --subject fixtures.flashinfer_on_cpu*": "needs FlashInfer: cases/layer/test_flashinfer_experts.py",
    "harness check --subject flashinfer-*": "needs a GPU",
    "harness check *--subject triton*": "needs a GPU",
    "harness bench*": "needs a GPU",
    "python -m kernels.triton.tune *": "needs a GPU",
    "pytest -k padding -m gpu *": "needs a GPU",
    "kubectl logs *": "needs a cluster: the command behind it is run with a file",
    "harness audit torchvision::*": "needs torchvision",
    "harness audit bitsandbytes::*": "needs bitsandbytes",
    "harness report *": "names files of the reader: cases/nightly/test_report_command.py",
    "harness merge *": "names files of the reader: cases/runs/test_merge.py",
    "harness diff *": "names files of the reader: cases/runs/test_diff.py",
    "harness waive *": "names files of the reader: cases/runs/test_diff.py",
    "harness * --shard *": "names files of the reader: cases/runs/test_shards.py",
    "harness * --on ssh*": "names machines of the reader: cases/runs/test_hosts.py",
    "harness repro verdicts.jsonl*": "names a file of the reader: cases/repro/test_repro_command.py",
    "harness repro CASE *": "names a case of the reader: cases/repro/test_repro_command.py",
    "harness repro": "needs a run before it: cases/repro/test_repro_command.py",
    "harness repro --shrink --issue *": "needs a run before it: cases/repro/test_repro_command.py",
    "harness audit --import mylib.ops": "names a module of the reader",
    "harness audit --files mylib/*": "names files of the reader: cases/audit/test_changed_files.py",
    "harness check --subject mine *": "names a subject of the reader",
    "harness check --waivers waivers.toml": "names a file of the reader: cases/verdict/test_waivers.py",
    "pytest -k padding --padding-waivers *": "names a file of the reader: cases/verdict/test_waivers.py",
    "pytest *": "the matrix, in minutes: cases/padding is a part of this test run",
}
# No GPU and no network, and a minute or more.
LONG = (
    "harness check",
    "harness check --json *",
    "harness check --modes proof",
    "harness check --subject 'vllm#35949'",
    "harness check --subject 'inductor-2.13#*",
    "harness check --subject mymoe:Mine *",
    "harness prove",
    "harness prove --json *",
    "harness prove --subject 'vllm#41184'",
    "harness prove --models any-shared --exhaustive *",
    "harness prove --models gpt-oss-20b -v",
    "harness selftest*",
)
EVERY = [(page, command) for page in PAGES for command in commands(page) if page != ROOT / PAGE]
SHOWN = {(one.page, one.command): one for page in PAGES for one in shown(page)}


def reason(command: str) -> str:
    """Why a command is not run; empty where it is."""
    return next((why for pattern, why in REASONS.items() if fnmatchcase(command, pattern)), "")


def is_long(command: str) -> bool:
    """Whether a command is run on request alone."""
    return any(fnmatchcase(command, pattern) for pattern in LONG)


CHOSEN = [one for one in EVERY if not reason(one[1]) and (os.environ.get("DOCS_LONG") or not is_long(one[1]))]
# One run for a command that several pages show.
RUNS = {command: [page for page, other in CHOSEN if other == command] for _, command in CHOSEN}


def name_of(command: str) -> str:
    """A test's id: ids with a space, a quote or a hash cannot be typed."""
    return re.sub(r"[^\w.]+", "-", command).strip("-")[:80]


def write_modules(folder: Path) -> None:
    """The modules that the pages tell their reader to save, and this project's settings, in an empty folder."""
    engine = re.search(r"`engine\.py`:\n\n```python\n(.*?)```", page("how-to/own-engine.md"), re.DOTALL)
    mymoe = re.search(r"```python\n# mymoe\.py\n(.*?)```", page("reference/subject.md"), re.DOTALL)
    assert engine
    assert mymoe
    log = re.search(r"`server\.log`:\n\n```text\n(.*?)```", page("how-to/diagnose.md"), re.DOTALL)
    assert log
    (folder / "server.log").write_text(log[1], "utf-8")
    (folder / "engine.py").write_text(engine[1], "utf-8")
    (folder / "mymoe.py").write_text(mymoe[1], "utf-8")
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"), "utf-8")


def page(name: str) -> str:
    """A page's text."""
    return (ROOT / "docs" / name).read_text("utf-8")


@pytest.mark.parametrize("command", RUNS, ids=name_of)
def test_a_command_gives_what_its_pages_show(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "inductor-2.13#" in command and not compiler.FAULTS:
        pytest.skip("this release of torch, or this CPU, does not have the bug that the command shows")
    write_modules(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "120")
    if "my_engine:" in command:
        assert main(["new-subject", "my_engine"]) == 0
        capsys.readouterr()
    code = main(shlex.split(command)[1:])
    output = capsys.readouterr().out
    assert code in (0, 1)
    for where in RUNS[command]:
        entry = SHOWN.get((where, command), Shown(where, command, ()))
        assert entry.missing(output) == "", f"{entry}\n{output}"


@pytest.mark.parametrize(
    "command", sorted({command for _, command in EVERY if command.startswith("harness ")}), ids=name_of
)
def test_the_command_line_accepts_what_the_pages_say(command: str) -> None:
    assert parser().parse_args(shlex.split(command)[1:]).command == shlex.split(command)[1]


def test_every_other_command_has_a_reason() -> None:
    assert [command for _, command in EVERY if not command.startswith("harness ") and not reason(command)] == []


@pytest.mark.parametrize("pattern", [*REASONS, *LONG], ids=name_of)
def test_a_pattern_matches_a_command(pattern: str) -> None:
    assert any(fnmatchcase(command, pattern) for _, command in EVERY), "remove it"


@pytest.mark.parametrize(
    ("lines", "output", "missing"),
    [
        (["...", "b", "..."], "a\nb\nc", ""),
        (["a", "c"], "a\nb\nc", "c"),
        (["a", "...", "c"], "a\nb\nc", ""),
        (["x ... z", "took 3.5 s"], "x  y  z\ntook 12 s", ""),
        (["...", "d"], "a\nb", "d"),
    ],
)
def test_shown_lines_are_found_in_their_order(lines: list[str], output: str, missing: str) -> None:
    assert Shown(ROOT / "README.md", "harness", tuple(lines)).missing(output) == missing
