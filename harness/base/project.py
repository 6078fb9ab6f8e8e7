"""The project's own settings: ``[tool.harness]`` in the nearest pyproject.toml names subjects, a corpus, waivers and a bench."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput, nearest

DEFAULT_SUBJECT = "in-tree"


@dataclass(frozen=True, slots=True)
class Project:
    """Named subjects (name -> ``package.module:Name``), the corpus' module, where both are imported from, waivers and bench."""

    root: Path
    subjects: dict[str, str] = field(default_factory=dict)
    corpus: str = ""
    waivers: Path | None = None
    bench: str = ""

    def subject(self, name: str) -> str:
        """The import path of a subject given by name, by import path, or by its id in the corpus. Raises BadInput."""
        if name in self.subjects:
            return self.subjects[name]
        if "#" in name and ":" not in name and self.corpus:
            return f"{self.corpus}:{name}"
        if ":" in name:
            return name
        if name == DEFAULT_SUBJECT:
            raise BadInput(
                f"no subject 'in-tree' below {self.root}; run in the harness's checkout or give --subject package.module:Name"
            )
        near = nearest(name, self.subjects)
        hint = f"did you mean {' or '.join(near)}?" if near else f"named here: {', '.join(self.subjects) or 'none'}."
        raise BadInput(f"unknown subject {name!r}; {hint} Or give package.module:Name")

    @property
    def path(self) -> tuple[str, ...]:
        """What a process that loads a subject puts on its import path."""
        return (str(self.root),)


@cache
def find(start: Path | None = None) -> Project:
    """The project around ``start`` (the current folder). Raises BadInput on a pyproject.toml that cannot be read."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and (settings := _settings(file)) is not None:
            return Project(folder, **settings)
    return Project(here)


def _settings(file: Path) -> dict[str, Any] | None:
    try:
        tool = tomllib.loads(file.read_text("utf-8")).get("tool", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None
    found: Any = tool.get("harness") if isinstance(tool, dict) else tool
    if found is None:
        return None
    subjects = found.get("subjects", {}) if isinstance(found, dict) else None
    if not isinstance(subjects, dict) or not all(isinstance(path, str) for path in subjects.values()):
        raise BadInput(f'{file}: expected [tool.harness.subjects] to give name = "package.module:Name"')
    named = {"corpus": "package.module", "bench": "package.module:function"}
    given = {key: found.get(key, "") for key in named}
    for key, form in named.items():
        if not isinstance(given[key], str):
            raise BadInput(f'{file}: expected [tool.harness] to give {key} = "{form}"')
    waivers = found.get("waivers")
    if not (waivers is None or (isinstance(waivers, str) and waivers)):
        raise BadInput(f'{file}: expected [tool.harness] to give waivers = "waivers.toml"')
    return {"subjects": dict(subjects), "waivers": file.parent / waivers if waivers else None, **given}
