"""The reference pages name everything that there is: commands and options, modes, observers, keys, settings, rooms."""

import argparse
import ast
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from fixtures.imports import ROOT
from harness.base.project import Project
from harness.cli import COMMANDS
from harness.findings.finding import Finding, Verdict
from harness.matrix.modes import EVERY_MODE
from harness.observers import OBSERVERS, RAISING
from harness.proof.proof import Proof

DOCS = ROOT / "docs"


def listed(page: str) -> set[str]:
    """What stands in backticks in the first column of a page's tables."""
    rows = re.findall(r"^\| ([^|]*) \|", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def options(command: str) -> set[str]:
    """The long options of a command."""
    parser = argparse.ArgumentParser()
    import_module(COMMANDS[command][0]).arguments(parser)
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_on_its_page(command: str) -> None:
    page = (DOCS / "reference/command-line.md").read_text("utf-8")
    part = re.search(rf"^## harness {command}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert part, f"docs/reference/command-line.md has no part on harness {command}"
    assert sorted(name for name in options(command) - {"--help", "--verbose", "--workers"} if name not in part[1]) == []


def test_every_mode_is_listed() -> None:
    assert listed("reference/modes.md") >= set(EVERY_MODE)


def test_every_observer_is_listed() -> None:
    assert listed("reference/observers.md") >= {observer.name for observer in OBSERVERS} | set(RAISING)


def test_every_key_of_a_record_is_listed() -> None:
    keys = {one.name for kind in (Verdict, Finding, Proof) for one in fields(kind)} | {"format", "page"}
    assert keys - listed("reference/records.md") == set()


def keys_of_detail() -> set[str]:
    """The keys that the sources give to the ``detail`` of a finding."""
    nodes = [node for file in (ROOT / "harness").rglob("*.py") for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    given = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "detail"]
    assigned = [node for node in nodes if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "detail"]
    dicts = [part for value in (*given, *assigned) for part in ast.walk(value) if isinstance(part, ast.Dict)]
    return {str(key.value) for one in dicts for key in one.keys if isinstance(key, ast.Constant)}


def test_every_key_of_a_detail_is_listed() -> None:
    assert {"earlier", "wrong"} <= keys_of_detail() <= listed("reference/records.md")


def test_every_setting_is_listed() -> None:
    keys = {{"default": "subject"}.get(one.name, one.name.replace("_", "-")) for one in fields(Project)} - {"root"}
    assert keys - listed("reference/settings.md") == set()


def test_the_rooms_are_listed() -> None:
    rooms = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    assert rooms - listed("explanation/architecture.md") == set()


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(
        r"`((?:harness|kernels|fixtures|cases|docs)/[\w/.-]+\.(?:py|md|json|txt|toml))`", page.read_text("utf-8")
    )
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
