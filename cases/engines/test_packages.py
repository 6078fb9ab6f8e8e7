"""A package that is not installed is fetched into a folder of its own, and each op that it registers is audited."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.engines import packages

OPS = """
import torch
import toy_dependency

lib = torch.library.Library("toy_ops", "DEF")
lib.define("double(Tensor x) -> Tensor")
lib.define("narrow(Tensor x) -> Tensor")
lib.impl("double", lambda x: x * 2, "CPU")
lib.impl("narrow", lambda x: x.to(torch.bfloat16), "CPU")
torch.library.register_fake("toy_ops::double", lambda x: torch.empty_like(x), lib=lib)
torch.library.register_fake("toy_ops::narrow", lambda x: torch.empty_like(x), lib=lib)
"""


def distribution(folder: Path, name: str, module: str, text: str, needs: str = "") -> None:
    (folder / f"{module}.py").write_text(text)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
    (about / "RECORD").write_text(f"{module}.py,,\n{module}-1.0.dist-info/METADATA,,\n")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pip is asked to install. It has toy-ops, which needs toy-dependency, and nothing else."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    wanted: list[str] = []

    def pip(_: Path, arguments: Sequence[str], *__: Any) -> tuple[int, list[str]]:
        folder = Path(arguments[arguments.index("--target") + 1])
        wanted.append(arguments[-1])
        if arguments[-1] == "toy-ops==1.0":
            needs = (
                "Requires-Dist: toy_dependency (>=1)\nRequires-Dist: torch>=2\nRequires-Dist: more ; extra == 'all'\n"
            )
            distribution(folder, "toy-ops", "toy_ops", OPS, needs)
        elif arguments[-1] == "toy-dependency":
            distribution(folder, "toy-dependency", "toy_dependency", "")
        else:
            return 1, [f"ERROR: No matching distribution found for {arguments[-1]}"]
        return 0, []

    monkeypatch.setattr(packages, "pip", pip)
    return wanted


def test_the_ops_of_a_package_are_audited(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "toy-ops==1.0", "--rows", "dtype", "-j", "1"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "toy_ops::double" in output
    assert "real gives dtype bfloat16, its fake float32" in output
    assert asked == ["toy-ops==1.0", "toy-dependency"]
    found = packages.package("toy-ops", "1.0", print)  # from the cache
    assert found.modules == ("toy_ops",)
    assert len(asked) == 2


def test_what_cannot_be_had_is_one_line(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "nosuch==9"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("harness:")]
    assert lines[-1] == (
        "harness: nosuch==9 is not installed and cannot be fetched: No matching distribution found for nosuch==9"
    )
    assert not (tmp_path / "cache" / "packages" / "nosuch-9").exists()


def test_ops_and_packages_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "toy-ops", "a::b"]) == 2
    assert "expected names of ops, NAMESPACE::NAME, or names of packages; not both" in capsys.readouterr().err


def test_an_installed_package_is_not_fetched() -> None:
    assert packages.package("torch", "", print) == packages.Package(("torch",))
    assert packages.named("ns::op") is None
    assert packages.named("mylib.gemm") is None
    assert packages.named("causal-conv1d==1.5") == ("causal-conv1d", "1.5")
