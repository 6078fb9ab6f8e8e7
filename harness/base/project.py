"""The project's own settings: the ``[tool.harness]`` table of the nearest pyproject.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput, nearest
from harness.base.text_file import read_regular

DEFAULT_SUBJECT = "in-tree"
# Subjects of somebody else's package that the harness brings, by the name that `--subject` takes.
TRANSFORMERS = "harness.engines.transformers.subject"
BUILT_IN = {
    "transformers": f"{TRANSFORMERS}:GroupedMm",
    "transformers-batched-mm": f"{TRANSFORMERS}:BatchedMm",
    "transformers-eager": f"{TRANSFORMERS}:Eager",
}
_PACKAGE = Path(__file__).parents[1]
# Each key that is text, with the form that it has.
_FORMS = {
    "subject": "name",
    "corpus": "package.module",
    "bench": "package.module:function",
    "waivers": "waivers.toml",
}
_KEYS = (*_FORMS, "subjects", "by-sizes")


@dataclass(frozen=True, slots=True)
class Project:
    """Named subjects (name -> ``package.module:Name``), the corpus' module, where both are imported from, waivers and bench.

    ``default`` is the subject that is judged where none is named. ``by_sizes`` names subjects whose layers are made from the
    sizes of a case alone: cases of two models with the same sizes are judged once.
    """

    root: Path
    subjects: dict[str, str] = field(default_factory=dict)
    corpus: str = ""
    waivers: Path | None = None
    bench: str = ""
    default: str = DEFAULT_SUBJECT
    by_sizes: tuple[str, ...] = ()

    def subject(self, name: str) -> str:
        """The import path of a subject given by name, by import path, or by its id in the corpus. Raises BadInput."""
        if name in self.subjects:
            return self.subjects[name]
        if name in BUILT_IN:
            return BUILT_IN[name]
        if "#" in name and ":" not in name and self.corpus:
            return f"{self.corpus}:{name}"
        if ":" in name:
            return name
        if name == DEFAULT_SUBJECT:
            named = f"; named here: {', '.join(self.subjects)}" if self.subjects else ""
            way = 'give --subject package.module:Name, or set [tool.harness] subject = "name" in pyproject.toml'
            raise BadInput(f"no subject is chosen for {self.root}: {way}{named}")
        near = nearest(name, [*self.subjects, *BUILT_IN])
        hint = f"did you mean {' or '.join(near)}?" if near else f"named here: {', '.join(self.subjects) or 'none'}."
        raise BadInput(f"unknown subject {name!r}; {hint} Or give package.module:Name")

    @property
    def path(self) -> tuple[str, ...]:
        """What a process that loads a subject needs on its import path."""
        return (str(self.root),)


def find(start: Path | None = None) -> Project:
    """The project around ``start`` (the current folder). Raises BadInput on a pyproject.toml that cannot be read."""
    here = (start or Path.cwd()).resolve()
    return _around(here) or Project(here)


def find_or_in_tree(subject: str = "") -> Project:
    """The project around the current folder; where there is none, the harness's own with its in-tree layer and corpus.

    A subject that is an import path is somebody else's, and a top-level ``kernels`` could hide a package that it needs:
    the harness's own folder then stays off the import path. Raises BadInput.
    """
    here = Path.cwd().resolve()
    own = in_tree() if ":" not in subject else None
    return _around(here) or (_around(own) if own else None) or Project(here)


def in_tree() -> Path | None:
    """The folder of the in-tree layer: part of the installed package, or the checkout; None where neither has it."""
    places = (_PACKAGE / "in_tree", _PACKAGE.parent)
    return next((folder for folder in places if (folder / "kernels" / "layer").is_dir()), None)


def pages() -> Path | None:
    """The folder of the documentation's pages: part of the installed package, or the checkout's; None if neither has it."""
    places = (_PACKAGE / "docs", _PACKAGE.parent / "docs")
    return next((folder for folder in places if any(folder.glob("**/*.md"))), None)


@cache
def _around(here: Path) -> Project | None:
    """The nearest project with a table, up to the root of the repository."""
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and (table := _table(file)) is not None:
            return _project(file, table)
        if (folder / ".git").exists():  # a folder, or in a worktree a file
            return None
    return None


def _table(file: Path) -> Any:
    try:
        tool = tomllib.loads(read_regular(file)).get("tool", {})
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None
    if not isinstance(tool, dict):
        raise BadInput(f"{file}: tool is {tool!r}; expected tables such as [tool.harness]")
    return tool.get("harness")


def _project(file: Path, table: Any) -> Project:
    if not isinstance(table, dict):
        raise BadInput(f"{file}: [tool.harness] is {table!r}; expected a table with {', '.join(_KEYS)}")
    _check_keys(file, table)
    subjects = table.get("subjects", {})
    _check_subjects(file, subjects)
    by_sizes = table.get("by-sizes", [])
    _check_by_sizes(file, by_sizes, subjects)
    text = {key: table.get(key, "") for key in _FORMS}
    waivers = file.parent / text["waivers"] if text["waivers"] else None
    default = text["subject"] or DEFAULT_SUBJECT
    return Project(file.parent, dict(subjects), text["corpus"], waivers, text["bench"], default, tuple(by_sizes))


def _check_subjects(file: Path, subjects: Any) -> None:
    form = 'name = "package.module:Name"'
    if not isinstance(subjects, dict):
        raise BadInput(f"{file}: [tool.harness] subjects is {subjects!r:.60}; expected a table of {form}")
    for name, path in subjects.items():
        if not isinstance(path, str) or not path:
            raise BadInput(f"{file}: [tool.harness.subjects] {name} is {path!r:.60}; expected {form}")


def _check_by_sizes(file: Path, names: Any, subjects: Mapping[str, str]) -> None:
    if not isinstance(names, list):
        raise BadInput(f'{file}: [tool.harness] by-sizes is {names!r:.60}; expected a list such as ["name"]')
    for name in names:
        if not isinstance(name, str) or name not in subjects:
            known = ", ".join(subjects) or "none"
            raise BadInput(
                f"{file}: [tool.harness] by-sizes names {name!r:.60}, which is no subject; named here: {known}"
            )


def _check_keys(file: Path, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            hint = f"did you mean {' or '.join(near)}?" if near else f"expected {', '.join(_KEYS)}"
            raise BadInput(f"{file}: unknown key {key!r} in [tool.harness]; {hint}")
        if key in _FORMS and not (isinstance(value, str) and value):
            raise BadInput(f'{file}: [tool.harness] {key} is {value!r:.60}; expected {key} = "{_FORMS[key]}"')
