"""``harness audit --files``: what a pre-commit hook gives are files, and what is audited the ops that they register."""

import re
from pathlib import Path

import pytest

from harness.audit.changed import module_names, registering
from harness.base.errors import BadInput
from harness.cli import main

OP = """
import torch


@torch.library.custom_op("{space}::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@double.register_fake
def _(x):
    return torch.empty_like({fake})
"""
ROWS = ("--rows", "shape", "-j", "1")


def put(folder: Path, name: str, text: str, packages: bool = True) -> str:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    for parent in file.relative_to(folder).parents if packages else ():
        if parent.name not in ("", "src"):
            (folder / parent / "__init__.py").touch()
    return str(file)


@pytest.mark.parametrize(
    ("name", "packages", "module"),
    [
        ("ops.py", False, "ops"),
        ("mine/ops.py", True, "mine.ops"),
        ("src/mine/deep/ops.py", True, "mine.deep.ops"),
        ("src/mine/ops.py", False, "mine.ops"),
        ("mine/deep/ops.py", False, "mine.deep.ops"),
        ("mine/__init__.py", True, "mine"),
    ],
)
def test_a_file_as_a_module(name: str, packages: bool, module: str, tmp_path: Path) -> None:
    file = Path(put(tmp_path, name, "", packages))
    ((folder, found),) = module_names([file], [str(tmp_path)])
    assert found == module
    base = Path(folder, *module.split("."))
    assert file in (base.with_suffix(".py"), base / "__init__.py")


@pytest.mark.parametrize(
    ("text", "registers"),
    [
        ('torch.library.define("mine::double", "(Tensor x) -> Tensor")', True),
        ("from torch.library import define, impl", True),
        ("from torch.library import opcheck", False),
        ("library.defined(1)", False),
    ],
)
def test_a_schema_that_is_defined_by_a_function_registers_an_op(text: str, registers: bool, tmp_path: Path) -> None:
    assert bool(registering([put(tmp_path, "ops.py", text)])) == registers


def test_a_file_that_registers_nothing_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    script = put(tmp_path, "script.py", "raise SystemExit('imported')\n")
    notes = put(tmp_path, "notes.md", "custom_op\n")
    assert registering([script, notes]) == []
    assert main(["audit", "--files", script, notes]) == 0
    assert "none of 2 files registers an op" in capsys.readouterr().err


@pytest.mark.usefixtures("forked_here")
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("fake", "code"), [("x", 0), ("x.flatten()", 1)], ids=["right", "wrong"])
def test_the_ops_of_changed_modules_are_audited(
    fake: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = put(tmp_path, "src/changed_pkg/ops.py", OP.format(space=f"changed_{code}", fake=fake))
    other = put(tmp_path, "src/changed_pkg/script.py", "raise SystemExit('imported')\n")
    assert main(["audit", "--files", other, file, *ROWS]) == code
    assert re.search(rf"^changed_{code}::double\s*$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(("name", "message"), [("none.py", "cannot read none.py"), ("not-one.py", "is no module")])
def test_what_is_no_module_is_one_line(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "not-one.py", OP)
    with pytest.raises(BadInput, match=message):
        module_names(registering([name]), [str(tmp_path)])
    assert main(["audit", "--files", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1
