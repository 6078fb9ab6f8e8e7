"""``harness new-subject``: write a module with the four methods of a subject. It runs without changes."""

import argparse
import keyword
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from harness.base.errors import BadInput

ABOUT = """\
Write a template for your own layer: a Python module with a small MoE layer, a custom op, and the four methods that the
harness calls. `build` makes the layer, `inputs` its arguments, `oracle` the expected result, and `ops` names its custom ops.
The template passes `harness check` without changes. Then replace its parts by yours, step by step (docs/how-to/own-engine.md).

examples:
  harness new-subject my_engine            write my_engine.py in this folder
  harness new-subject tests/my_engine      write tests/my_engine.py
  harness check --subject my_engine:MyEngine --models gpt-oss-20b --modes eager     the first check

exit code: 0 written, 2 the file exists or its name is not a valid module name"""


_LONGEST = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness new-subject``."""
    parser.description = ABOUT
    parser.add_argument(
        "name", metavar="NAME", help="the module to write: letters, digits and underscores, after a folder if you like"
    )


def run(chosen: argparse.Namespace) -> int:
    """Write the template and print the command that checks it. Raises BadInput."""
    path = Path(chosen.name.removesuffix(".py") + ".py")
    module = path.stem
    if not module.isidentifier() or keyword.iskeyword(module):
        raise BadInput(
            f"{module!r} cannot be the name of a module; use letters, digits and underscores, such as my_engine"
        )
    if len(module) > _LONGEST:
        raise BadInput(f"a name of {len(module)} signs is too long for a file; expected at most {_LONGEST}")
    if not path.exists() and find_spec(module) is not None:
        raise BadInput(f"{module!r} is a module already, and a file of that name would hide it; give another name")
    name = "".join(part[:1].upper() + part[1:] for part in module.split("_")) or "Engine"
    check = f"harness check --subject {module}:{name}"
    text = files("harness.subjects").joinpath("template.py.txt").read_text("utf-8")
    for key, value in {"title": name, "check": check, "module": module, "name": name}.items():
        text = text.replace(f"{{{key}}}", value)
    _write(path, text)
    there = f"cd {path.parent} && " if path.parent != Path() else ""
    print(f"{path} is written. Check it as it is, then put your layer in its place:")
    print(f"    {there}{check} --models gpt-oss-20b --modes eager")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file that does not exist yet. Raises BadInput."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"{path} exists and was not changed; give another name") from None
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; give a folder that exists") from None
