"""A package that is not installed is fetched into a folder of its own, and each op that it registers is audited."""

import json
import sys
import tarfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.commands import packaged
from harness.engines.packages import fetching
from harness.engines.packages.modules import registering_modules, top_modules
from harness.engines.packages.package import Package, named, package
from harness.engines.packages.refusals import another_torch, no_backend, reason

OPS = """
import torch
import toy_dependency

lib = torch.library.Library("toy_ops", "DEF")
lib.define("double(Tensor x) -> Tensor")
lib.define("narrow(Tensor x) -> Tensor")
lib.define("scaled(Tensor x, int groups, str kind, float scale) -> Tensor")
lib.impl("double", lambda x: x * 2, "CPU")
lib.impl("narrow", lambda x: x.to(torch.bfloat16), "CPU")


def scaled(x, groups, kind, scale):
    if x.dim() != 3 or groups != x.shape[1]:
        raise ValueError("expected [tokens, groups, size]")
    if kind not in ("up", "down"):
        raise ValueError(kind)
    return x.transpose(0, 1) * scale


lib.impl("scaled", scaled, "CPU")
torch.library.register_fake("toy_ops::double", lambda x: torch.empty_like(x), lib=lib)
torch.library.register_fake("toy_ops::narrow", lambda x: torch.empty_like(x), lib=lib)
torch.library.register_fake("toy_ops::scaled", lambda x, *_: x.new_empty(x.shape[1], x.shape[0], x.shape[2]), lib=lib)
"""
LATER = """
import torch

@torch.library.custom_op("toy_later::half", mutates_args=())
def half(x: torch.Tensor) -> torch.Tensor:
    return x / 2

half.register_fake(lambda x: torch.empty_like(x))
"""
BROKEN = "import torch\nfrom no_such_module_anywhere import Library, custom_op\n"


def distribution(folder: Path, name: str, files: dict[str, str], needs: str = "") -> None:
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))


TOY = {
    "toy_ops/__init__.py": OPS,
    "toy_ops/later.py": LATER,
    "toy_ops/broken.py": BROKEN,
    "toy_ops/tests/test_it.py": BROKEN,
}
NEEDS = "Requires-Dist: toy_dependency (>=1)\nRequires-Dist: torch>=2\nRequires-Dist: more ; extra == 'all'\n"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pip is asked to install. It has toy-ops, which needs toy-dependency, toy-quiet, and nothing else."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    wanted: list[str] = []

    def pip(_: Path, arguments: Sequence[str], *__: Any) -> tuple[int, list[str]]:
        name = arguments[-1].partition("==")[0]
        if name not in ("toy-ops", "toy-quiet", "toy-dependency"):
            lines = [f"ERROR: Could not find a version that satisfies the requirement {name} (from versions: none)"]
            return 1, [*lines, f"ERROR: No matching distribution found for {arguments[-1]}"]
        if "--dry-run" in arguments:
            needed = ["torch", name, "toy-dependency"] if name == "toy-ops" else [name]
            about = [{"metadata": {"name": one, "version": "1.0"}} for one in needed]
            Path(arguments[arguments.index("--report") + 1]).write_text(json.dumps({"install": about}))
            return 0, []
        folder = Path(arguments[arguments.index("--target") + 1])
        for one in (one for one in arguments if "==" in one):
            wanted.append(one)
            files = {"toy-ops": TOY, "toy-quiet": {"toy_quiet.py": ""}}.get(
                one.partition("==")[0], {"toy_dependency.py": ""}
            )
            distribution(folder, one.partition("==")[0], files, NEEDS if one.startswith("toy-ops") else "")
        return 0, []

    monkeypatch.setattr(fetching, "pip", pip)
    return wanted


@pytest.mark.usefixtures("forked_here")
def test_the_ops_of_a_package_are_audited(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "toy-ops", "--rows", "dtype,stride", "-j", "1"]) == 1
    shown = capsys.readouterr()
    output = " ".join(shown.out.split())
    assert "toy_ops::double" in output
    assert "real gives dtype bfloat16, its fake float32" in output
    assert "reproduce dtype: harness audit toy-ops==1.0 toy_ops::narrow --rows dtype" in output
    # Its arguments are made up: three dimensions, a number that is a size, and a word that the source names.
    assert "toy_ops::scaled" in output
    assert "real gives stride" in output
    assert output.count("note: the arguments are made up") == 1  # the others take random tensors
    assert "toy_later::half" in output  # of a module that importing the package does not import
    assert (
        "harness: toy_ops.broken is not imported: ModuleNotFoundError: No module named 'no_such_module_anywhere'"
        in shown.err
    )
    assert "test_it" not in shown.err
    assert asked == ["toy-ops==1.0", "toy-dependency==1.0"]
    found = package("toy-ops", "1.0", print)  # from the cache
    assert found.modules == ("toy_ops",)
    assert found.more == ("toy_ops", "toy_ops.later", "toy_ops.broken")
    assert found.torch == "torch>=2"
    assert len(asked) == 2


@pytest.mark.usefixtures("forked_here")
def test_one_op_of_a_package_is_audited(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "toy-ops==1.0", "half", "--rows", "dtype", "-j", "1"]) == 0
    shown = capsys.readouterr()
    assert "1 op, 2 rows: 2 holds" in shown.out
    assert "harness: toy-ops==1.0 registers 4 ops; 1 are audited" in shown.err
    assert main(["audit", "toy-ops==1.0", "halve"]) == 2
    assert "harness: toy-ops==1.0 registers no op halve; it registers " in capsys.readouterr().err
    assert asked == ["toy-ops==1.0", "toy-dependency==1.0"]


@pytest.mark.usefixtures("forked_here")
def test_a_package_that_registers_nothing_is_one_line(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "toy-quiet"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("harness:")]
    assert lines[-1] == (
        "harness: toy-quiet==1.0 registers no op in torch's dispatcher when it is imported: nothing to audit"
    )
    assert asked == ["toy-quiet==1.0"]


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (
            "ImportError: _C.so: undefined symbol: _ZN5torch7Library4_defE (ops.py:1: from . import _C)",
            "its compiled library is built for another torch than {}: that lacks the symbol _ZN5torch7Library4_defE",
        ),
        (
            "OSError: no _C.so (x.py:1: load()); raised from OSError: libc10_cuda.so: cannot open shared object file: No such",
            "its compiled library is built for a torch with CUDA: it needs libc10_cuda.so, which torch {} lacks",
        ),
        ("ImportError: _C.so: undefined symbol: PyFoo", "ImportError: _C.so: undefined symbol: PyFoo"),
    ],
)
def test_a_library_of_another_torch_is_named(
    raised: str, says: str, asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packaged, "discovered", lambda *_: packaged.Discovered((), {"toy_quiet": raised}))
    assert main(["audit", "toy-quiet"]) == 2
    expected = f"harness: toy-quiet==1.0 cannot be imported here: {says.format(version('torch'))}"
    assert capsys.readouterr().err.splitlines()[-1] == expected
    assert asked == ["toy-quiet==1.0"]


@pytest.mark.usefixtures("asked")
def test_what_cannot_be_had_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "nosuch==9"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("harness:")]
    assert lines[-1] == (
        "harness: nosuch==9 is not installed and cannot be fetched: the package index has no project of this name; "
        "look for a typing error in the name"
    )
    assert not list((tmp_path / "cache").glob("packages/*"))


def test_a_package_is_told_from_an_op() -> None:
    assert package("torch", "", print).modules[0] in ("torch", "functorch", "torchgen")
    assert named("ns::op") is None
    assert named("mylib.gemm") is None
    assert named("causal-conv1d==1.5") == ("causal-conv1d", "1.5")


def test_modules_of_a_distribution(tmp_path: Path) -> None:
    files = ["optimum/quanto/__init__.py", "optimum/quanto/ops.py", "single.py", "tests/test_a.py", "a-b/x.py"]
    assert top_modules(map(Path, files)) == ("optimum.quanto", "single")
    for file, text in ((files[1], "custom_op"), (files[2], "import torch"), (files[3], "custom_op")):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert registering_modules(map(Path, files), tmp_path) == ("optimum.quanto.ops",)


NONE = ["ERROR: Could not find a version that satisfies the requirement x (from versions: none)",
        "ERROR: No matching distribution found for x"]  # fmt: skip
SOME = [NONE[0].replace("none", "1.0, 2.0"), NONE[1]]
BUILD = ["  ModuleNotFoundError: No module named 'numpy'", "ERROR: Could not build wheels for x"]
WHEELS = ["Skipping link: none of the wheel's tags (cp38-cp38-linux_x86_64) are compatible (run pip debug)"]


@pytest.mark.parametrize(
    ("lines", "detail", "says"),
    [
        (NONE, [], "the package index has no project of this name; look for a typing error in the name"),
        (SOME, [], "the index has no such release for this Python; the newest that it has are 1.0, 2.0"),
        (NONE, WHEELS, "no wheel for this Python and machine, and no source; it has wheels for cp38-cp38-linux_x86_64"),
        (NONE, ["Link requires a different Python (3.11 not in: '>=3.13'): Requires-Python"], "no release for this Python"),
        (BUILD, [], "its source does not build here: ModuleNotFoundError: No module named 'numpy'"),
        (["  x.cpp:3:10: fatal error: cuda.h: No such file", *BUILD], [], "x.cpp:3:10: fatal error: cuda.h: No such file"),
        (["  OSError: CUDA_HOME environment variable is not set.", *BUILD[1:]], [], "OSError: CUDA_HOME environment variable"),
        (["ERROR: disk full"], [], "disk full"),
    ],
)  # fmt: skip
def test_why_pip_failed(lines: list[str], detail: list[str], says: str) -> None:
    assert says in reason(lines, detail)
    assert "\n" not in reason(lines, detail)


def test_what_is_tried_otherwise() -> None:
    assert another_torch(["ERROR: ResolutionImpossible: for help visit"])
    assert not another_torch(NONE)
    assert no_backend(["pip._vendor.pyproject_hooks._impl.BackendUnavailable: Cannot import 'hatchling.build'"])
    assert not no_backend(["ModuleNotFoundError: No module named 'torch'"])


SETUP = """
import torch
from setuptools import setup

setup(name="toy-source", version="2.5", py_modules=["toy_source"], description=torch.__version__)
"""


def test_a_package_without_a_wheel_is_built_with_this_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    tree = tmp_path / "toy_source-2.5"
    tree.mkdir()
    (tree / "setup.py").write_text(SETUP)
    (tree / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: toy-source\nVersion: 2.5\n")
    (tree / "toy_source.py").write_text(LATER.replace("toy_later", "toy_source"))
    with tarfile.open(tmp_path / "toy_source-2.5.tar.gz", "w:gz") as archive:
        archive.add(tree, tree.name)
    assert main(["audit", "toy-source", "--rows", "shape", "-j", "1"]) == 0
    assert "toy_source::half" in capsys.readouterr().out
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = tmp_path / "cache" / "packages" / f"toy-source-2.5-torch{version('torch').partition('+')[0]}-py{python}"
    assert isinstance(package("toy-source", "2.5", print), Package)
    assert (place / "toy_source.py").is_file()
