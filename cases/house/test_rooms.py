"""The rooms of the house: who may import whom, and that no imports run in a circle."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from fixtures.imports import ROOT, graph

# A room imports from itself and from rooms before it in this list.
ROOMS = (
    "base",
    "matrix",
    "diagnosis",
    "ops",
    "subjects",
    "execution",
    "findings",
    "observers",
    "proof",
    "verdict",
    "account",
    "workers",
    "ranks",
    "runs",
    "output",
    "nightly",
    "repro",
    "audit",
    "selftest",
    "benchmark",
    "engines",
    "commands",
)
PACKAGES = ("harness", "kernels", "fixtures", "cases")
MOST_MODULES, MOST_BESIDE_ROOMS = 15, 10
MOST_COMMANDS = 25  # one module a command


def room(module: str) -> str:
    """The room of a module; empty for those beside the rooms (the command line, the plugin)."""
    parts = module.split(".")
    return parts[1] if parts[0] == "harness" and len(parts) > 1 and parts[1] in ROOMS else ""


def wrong_way(imports: dict[str, set[str]]) -> Iterator[str]:
    """Imports that run from an earlier room to a later one, or from a room to the edge, and what to do about each."""
    for module, names in imports.items():
        here = room(module)
        for name in sorted(names):
            there = room(name)
            edge = name.startswith("harness") and not there
            if here and (edge or (there and ROOMS.index(there) > ROOMS.index(here))):
                yield (
                    f"{module} imports {name}, but {here!r} comes before {there or name!r}: move what it needs up to "
                    f"{here!r} or a room before it, or hand it over as an argument"
                )


def circle(imports: dict[str, set[str]]) -> str:
    """A circle of imports and what to do about it; empty where there is none."""
    # An __init__ is part of every import of its package, so a package's modules may name it.
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return f"turn one of these imports: {' <- '.join(error.args[1])}"
    return ""


def test_rooms_import_only_from_rooms_before_them() -> None:
    assert list(wrong_way(graph("harness"))) == []


def test_an_import_that_was_turned_is_named() -> None:
    imports = graph("harness")
    imports["harness.base.errors"].add("harness.verdict.judge")
    (line,) = wrong_way(imports)
    assert line.startswith("harness.base.errors imports harness.verdict.judge, but 'base' comes before 'verdict'")


def test_an_import_of_the_edge_is_named() -> None:
    (line,) = wrong_way({"harness.output.report": {"harness.plugin"}})
    assert line.startswith("harness.output.report imports harness.plugin")


def test_no_circle() -> None:
    assert circle(graph(*PACKAGES)) == ""


def test_a_circle_is_named() -> None:
    imports = graph("harness")
    imports["harness.ops.tensor_meta"].add("harness.ops.fake_call")
    assert "harness.ops.tensor_meta" in circle(imports)
    assert circle(imports).startswith("turn one of these imports: ")


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("kernels", {"harness", "kernels"}), ("fixtures", {"harness", "kernels", "fixtures"})],
)
def test_packages_import_one_way(package: str, allowed: set[str]) -> None:
    imports = graph(*PACKAGES)
    wrong = [
        f"{module} imports {name}"
        for module, names in imports.items()
        if module.startswith(package)
        for name in names
        if name.partition(".")[0] not in allowed
    ]
    assert wrong == []


def test_kernels_import_one_way() -> None:
    imports = graph("kernels")
    assert [
        name for name in imports for word in imports[name] if name.startswith("kernels.layer") and "layer" not in word
    ] == []


def test_tests_do_not_import_tests() -> None:
    assert [name for name, names in graph("cases").items() if names] == []


def folders() -> list[Path]:
    return [
        path for path in sorted((ROOT / "harness").rglob("*")) if path.is_dir() and (path / "__init__.py").is_file()
    ]


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_is_small_and_says_what_belongs_in_it(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= (MOST_COMMANDS if folder.name == "commands" else MOST_MODULES)
    text = (folder / "__init__.py").read_text("utf-8")
    if folder.parent == ROOT / "harness":
        assert "Belongs here:" in text
        assert "May import:" in text


def test_every_folder_is_a_room_and_few_modules_stand_beside_them() -> None:
    inside = {path.name for path in folders() if path.parent == ROOT / "harness"}
    assert inside == set(ROOMS)
    assert len([*(ROOT / "harness").glob("*.py")]) <= MOST_BESIDE_ROOMS


def test_no_two_modules_of_tests_have_one_name() -> None:
    """Pytest imports each by its name alone, and collects the first of two only."""
    names = sorted(path.name for path in (ROOT / "cases").rglob("test_*.py"))
    assert [name for name, after in pairwise(names) if name == after] == []
