"""The scripts of the findings: each stands alone, and shows two sides that ought to be the same and differ."""

import ast
import contextlib
import io
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "docs" / "findings" / "scripts").glob("*.py"))
PACKAGES = {
    "bitsandbytes",
    "comfy_kitchen",
    "deepspeed",
    "executorch",
    "fms",
    "fms_mo",
    "gemlite",
    "iree",
    "litert_torch",
    "physicsnemo",
    "quark",
    "tico",
    "torch",
    "torchao",
    "torchlpc",
    "torchtitan",
    "torchvision",
}
ON_AVX512 = {"torch_int_mm"}  # a defect of the kernel that torch takes there


def imported(script: Path) -> set[str]:
    """The top-level packages that a script imports, without Python's own."""
    statements = ast.parse(script.read_text("utf-8")).body
    plain = [name.name for one in statements if isinstance(one, ast.Import) for name in one.names]
    return {name.partition(".")[0] for name in plain} - sys.stdlib_module_names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_needs_no_harness(script: Path) -> None:
    text = script.read_text("utf-8")
    assert len(ast.parse(text).body) <= 10
    assert "harness" not in text
    assert imported(script) <= PACKAGES


def test_the_scripts_are_of_these_packages() -> None:
    assert {package for script in SCRIPTS for package in imported(script)} == PACKAGES
    assert len(SCRIPTS) >= 50


# What a released package warns of, at its import too, is its own affair.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_shows_two_sides_that_differ(script: Path) -> None:
    absent = [package for package in imported(script) if find_spec(package) is None]
    if absent:
        pytest.skip(f"{absent[0]} is not installed")
    if script.stem in ON_AVX512 and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this CPU has no AVX-512")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(script.read_text("utf-8"), str(script), "exec"), {"__name__": "__main__"})
    ours, theirs = (line.partition(" ") for line in shown.getvalue().strip().splitlines()[-2:])
    assert ours[0] != theirs[0]  # such as "real" and "fake"
    assert ours[2] != theirs[2]
