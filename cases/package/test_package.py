"""The package as a stranger gets it: an sdist, the wheel built from it, and an environment that has only the wheel."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NANO = "nemotron-3-nano-30b-a3b"
SHIPPED = ("harness", "kernels", "fixtures", "cases", "docs", "action", "examples", ".ci", ".github")
EXAMPLE = ROOT / "examples" / "own-kernel"
PAGE = ROOT / "docs" / "how-to" / "own-engine.md"
# An installed package with the name of the in-tree layer's, as Hugging Face's is.
THEIR_KERNELS = "THEIRS = True\n"
# Somebody else's project, with options and a table that the harness could take for its own.
FOREIGN = {
    "pyproject.toml": "[tool.harness]\nservers = 2\nsubjects = []\n[tool.pytest.ini_options]\nminversion = '8'\n",
    "conftest.py": """
def pytest_addoption(parser):
    parser.addoption("--full", action="store_true")
    parser.addoption("--models", default="none")
""",
    "test_theirs.py": """
import kernels


def test_own(pytestconfig):
    assert kernels.THEIRS
    assert (pytestconfig.option.full, pytestconfig.option.models) == (True, "mine")
""",
}


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and without the checkout; torch and pytest are those of the tests."""

    bin: Path
    folder: Path
    sdist: Path
    wheel: Path

    def run(self, *command: str, folder: Path, code: int = 0) -> str:
        """The output of a command of the environment, which must end with this exit code."""
        drop = ("PYTHONPATH", "PYTEST", "COVERAGE")
        env = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
        env |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        words = [str(self.bin / command[0]), *command[1:]]
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


def python(*arguments: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


def passed_over(folder: str, names: list[str]) -> set[str]:
    """What a checkout holds beside the project: a build would leave files there, so it is made in a copy."""
    shown = (".ci", ".github", ".pre-commit-config.yaml", ".pre-commit-hooks.yaml")
    hidden = {name for name in names if name.startswith(".") and name not in shown}
    return hidden | {name for name in names if name in ("build", "dist", "__pycache__") or name.endswith(".egg-info")}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The sdist of the checkout, the wheel of the sdist, and a fresh environment with that wheel."""
    folder = tmp_path_factory.mktemp("package")
    source, venv = folder / "source", folder / "venv"
    shutil.copytree(ROOT, source, ignore=passed_over)
    build = "import setuptools.build_meta as build, sys; build.build_sdist(sys.argv[1])"
    python("-c", build, str(folder), folder=source)
    (sdist,) = folder.glob("*.tar.gz")
    pip = ("-m", "pip", "--disable-pip-version-check", "-q")
    python(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(sdist), folder=folder)
    (wheel,) = folder.glob("*.whl")
    python("-m", "venv", "--without-pip", str(venv), folder=folder)
    target = str(venv / "bin" / "python")
    python(*pip, "--python", target, "install", "--no-deps", "--no-index", str(wheel), folder=folder)
    (site,) = (venv / "lib").glob("python*/site-packages")
    # Folders that a .pth file names come last, and theirs are not read: an editable install of the checkout is not seen.
    (site / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (site / "kernels").mkdir()
    (site / "kernels" / "__init__.py").write_text(THEIR_KERNELS)
    return Installed(venv / "bin", folder, sdist, wheel)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_the_sdist_is_complete(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    source = installed.folder / "source"
    wanted = {str(path.relative_to(source)) for folder in SHIPPED for path in (source / folder).rglob("*.*")}
    wanted |= {path.name for path in source.iterdir() if path.is_file()} | {".ci/run"}
    assert sorted(name for name in wanted - names if "egg-info" not in name) == []
    assert "cases/package/test_package.py" in names


def test_a_packager_runs_tests_from_the_sdist(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as archive:
        archive.extractall(installed.folder / "unpacked", filter="data")
    (folder,) = (installed.folder / "unpacked").iterdir()
    chosen = f"padding and {NANO} and eager and wide and tp1 and tokens7-"
    output = installed.run("python", "-m", "pytest", "-q", "-k", chosen, folder=folder)
    assert re.search(r"^1 passed", output, re.MULTILINE), output


def test_the_wheel_says_what_it_is(installed: Installed) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
    assert {name.partition("/")[0] for name in names} == {"harness", metadata.partition("/")[0]}
    assert not [name for name in names if "__pycache__" in name or "/cases/" in name]
    assert fields["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "Framework :: Pytest" in fields.get_all("Classifier", [])
    assert fields.get_all("Project-URL") is None
    assert fields["Version"] == project["version"]


def test_an_empty_folder_shows_the_in_tree_layer(installed: Installed, tmp_path: Path) -> None:
    output = installed.run("harness", "check", "--models", NANO, "--modes", "eager", "-j", "1", folder=tmp_path)
    assert re.search(r"^(\d+) verdicts: \1 ok;", output, re.MULTILINE), output
    assert list(tmp_path.iterdir()) == []


def test_a_planted_fault_is_found_from_the_wheel(installed: Installed, tmp_path: Path) -> None:
    chosen = ("--models", NANO, "--modes", "eager", "--tp", "1", "--kernels", "wide", "-j", "1")
    output = installed.run("harness", "check", "--subject", "vllm#35949", *chosen, folder=tmp_path, code=1)
    assert "width-mismatch at shared add" in output


def test_another_project_is_left_alone(installed: Installed, tmp_path: Path) -> None:
    folder = write(tmp_path, FOREIGN)
    output = installed.run("python", "-m", "pytest", "-q", "--full", "--models", "mine", folder=folder)
    assert re.search(r"^1 passed", output, re.MULTILINE), output


def test_the_steps_for_an_engine_of_one_s_own_work_as_they_are_written(installed: Installed, tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    (engine,) = re.findall(r"```python\n(import torch\n.*?)```", page, re.DOTALL)
    write(tmp_path, {"engine.py": f"import kernels\n\nassert kernels.THEIRS\n{engine}"})
    steps = re.findall(r"^(?:\$ )?(harness (?:new-subject|check) .*?)\s*(?:#.*)?$", page, re.MULTILINE)
    assert [step.split()[1] for step in steps] == ["new-subject", "check", "check"]
    for step in steps:
        output = installed.run(*step.split(), folder=tmp_path)
        assert "check" not in step.split() or re.search(r"^(\d+) verdicts: \1 ok;", output, re.MULTILINE), output


def test_the_pages_come_with_the_wheel(installed: Installed, tmp_path: Path) -> None:
    listed = {line.split()[0] for line in installed.run("harness", "docs", folder=tmp_path).splitlines()}
    docs = ROOT / "docs"
    assert listed == {path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md")}
    for name in ("how-to/own-engine", "own-engine", "docs/how-to/own-engine.md"):
        assert installed.run("harness", "docs", name, folder=tmp_path) == PAGE.read_text("utf-8")


def test_the_version_is_read_from_the_package(installed: Installed, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert installed.run("harness", "--version", folder=tmp_path).strip() == version


def test_the_nightly_page_is_in_the_wheel(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text('{"op": "mylib::op", "row": "fake", "status": "holds", "what": ""}\n')
    installed.run("harness", "report", "audit.jsonl", "-o", "page.html", folder=tmp_path)
    assert "<title>Nightly results</title>" in (tmp_path / "page.html").read_text("utf-8")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example of a repository that uses the harness, in a folder of its own."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "own-kernel"))


def test_the_example_is_green_and_red_where_its_fault_is_planted(installed: Installed, example: Path) -> None:
    page = (example / "README.md").read_text("utf-8")
    chosen = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "padding and gpt-oss-20b and eager")
    assert f'-k "{chosen[-1]}"' in page
    output = installed.run(*chosen, "--padding-json", "green.jsonl", folder=example)
    assert re.search(r"^4 passed, 5 skipped", output, re.MULTILINE), output
    patched = subprocess.run(["git", "apply", "late-unpad.patch"], cwd=example, capture_output=True, text=True)
    assert patched.returncode == 0, patched.stderr
    output = installed.run(*chosen, "--padding-json", "red.jsonl", folder=example, code=1)
    (shown,) = re.findall(r"^```text\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert shown in output
    assert "line        own_kernel/layer.py:" in output
    changed = installed.run("harness", "diff", "green.jsonl", "red.jsonl", folder=example, code=1)
    assert "new: 3 (fails now and did not before)" in changed


def test_the_commands_of_the_example_s_page_work(installed: Installed, example: Path) -> None:
    page = (example / "README.md").read_text("utf-8")
    commands = re.findall(r"^harness (.+)$", page, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["check", "audit"]
    check, audit = commands
    output = installed.run(
        "harness", *check.replace("eager,fake,compiled", "eager,fake").split(), "-j", "1", folder=example
    )
    assert re.search(r"^\d+ verdicts: \d+ ok, \d+ skipped;", output, re.MULTILINE), output
    rows = ("--rows", "schema,fake,shape,dynamic shapes", "-j", "1")
    assert re.search(
        r"^1 op, 5 rows: 5 holds;", installed.run("harness", *audit.split(), *rows, folder=example), re.MULTILINE
    )
