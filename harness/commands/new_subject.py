"""``harness new-subject``: a module with the four methods of a subject, which runs as it stands."""

import argparse
import keyword
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from harness.base.errors import BadInput

ABOUT = """\
Write a template for a layer of your own: one module with the four methods that the harness calls (build, inputs, oracle,
ops) and a custom op. It gives verdicts as it stands; replace its parts by yours. docs/your-engine.md is the way through.

examples:
  harness new-subject my_engine            writes my_engine.py here
  harness new-subject tests/my_engine      in another folder
  harness check --subject my_engine:MyEngine --models gpt-oss-20b --modes eager

exit code: 0 written, 2 the file exists, or its name cannot be a module's"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness new-subject``."""
    parser.description = ABOUT
    parser.add_argument(
        "name", metavar="NAME", help="the module: letters, digits and underscores; a folder may come before"
    )


def run(chosen: argparse.Namespace) -> int:
    """Write the template and say how to run it. Raises BadInput."""
    path = Path(chosen.name.removesuffix(".py") + ".py")
    module = path.stem
    if not module.isidentifier() or keyword.iskeyword(module):
        raise BadInput(
            f"{module!r} cannot be the name of a module; use letters, digits and underscores, such as my_engine"
        )
    if not path.exists() and find_spec(module) is not None:
        raise BadInput(f"{module!r} is a module already, which a file of that name would hide; give another name")
    name = "".join(part[:1].upper() + part[1:] for part in module.split("_")) or "Engine"
    check = f"harness check --subject {module}:{name}"
    text = files("harness.subjects").joinpath("template.py.txt").read_text("utf-8")
    for key, value in {"title": name, "check": check, "module": module, "name": name}.items():
        text = text.replace(f"{{{key}}}", value)
    _write(path, text)
    there = f"cd {path.parent} && " if path.parent != Path() else ""
    print(f"{path} is written. Judge it as it stands, then put your layer in its place:")
    print(f"    {there}{check} --models gpt-oss-20b --modes eager")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file that does not exist yet. Raises BadInput."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"{path} exists, and is left as it is; give another name") from None
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; give a folder that exists") from None
