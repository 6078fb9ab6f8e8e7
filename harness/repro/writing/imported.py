"""A script that imports the subject's own package: the layer as it is, built for the sizes of the case."""

from importlib import import_module
from operator import attrgetter
from typing import Any

from harness.matrix.case import Case
from harness.repro.writing.parts import Parts

_SCALARS = (bool, int, float, str, type(None))
_LEFT_OUT = ("id", "overridden")  # a script's case has no id
_ORACLE = """\
def oracle(batch):
    wanted = subject.oracle(case, batch)
    return sum(wanted.values()) if isinstance(wanted, dict) else wanted"""
BUILT = "layer = subject.build(case, device)"
_TEXT = """\
sys.path.insert(0, ".")  # run this where {top} can be imported
{subject}


def frozen(**sizes):
    return make_dataclass("Case", sizes, frozen=True)(**sizes)


case = frozen({sizes}, alignment=frozen({rule}))
device = torch.device("{device}")
{built}


def inputs(tokens, seed):
    return subject.inputs(case, tokens, seed, device)"""


def imported(spec: str, case: Case, device: str) -> Parts:
    """The script's layer, inputs and oracle by the subject at ``package.module:Name``, or by an entry of a corpus."""
    module, _, name = spec.partition(":")
    top = module.partition(".")[0]
    sizes = _arguments(scalars(case))
    rule = _arguments({key: getattr(case.alignment, key) for key in case.alignment.__slots__})
    text = _TEXT.format(top=top, subject=_subject(module, name), sizes=sizes, rule=rule, device=device, built=BUILT)
    return Parts(text, ("import sys", "from dataclasses import make_dataclass"), f"torch and {top}", oracle=_ORACLE)


def _subject(module: str, name: str) -> str:
    """The statements that import the subject."""
    package, _, short = module.rpartition(".")
    statement = f"from {package} import {short}" if package else f"import {module}"
    if "#" in name:
        found = f'{{entry.id: entry for entry in (*{short}.FAULTS, *{short}.CORRECT)}}["{name}"].subject'
        return f"{statement}\n\nsubject = {found}"
    is_type = isinstance(attrgetter(name)(import_module(module)), type)
    return f"{statement}\n\nsubject = {short}.{name}{'()' if is_type else ''}"


def scalars(case: Case) -> dict[str, Any]:
    """Every number, text and None of a case, its properties too: a subject may read any of them."""
    names = [name for name in dir(Case) if not name.startswith("_") and name not in _LEFT_OUT]
    return {name: value for name in names if isinstance(value := getattr(case, name), _SCALARS)}


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
