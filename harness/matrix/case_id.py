"""From a case's id, as verdicts, scripts and pytest print it, back to the case."""

import re
from dataclasses import replace
from pathlib import Path

from harness.base.errors import BadInput
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE
from harness.matrix.ranks import REAL
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN, check_width, load
from harness.matrix.shrunk import read_name, resized

# The parts of an id; ``Case.id`` joins them.
ID = re.compile(
    r"(?P<model>.+?)-hidden(?P<hidden>\d+)(?:-latent(?P<latent>\d+))?-padded(?P<padded>\d+)-(?P<rule>.+)"
    r"-(?P<kernel>wide|narrow)-tp(?P<tp>\d+)-tokens(?P<tokens>\d+)(?:-ranks-(?P<collective>\w+))?(?P<full>-full)?"
)
_EXAMPLE = "nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp2-tokens7"
_MODES = "|".join({name for mode in EVERY_MODE.values() for name in (mode.name, mode.exact)})
# What pytest prints around an id: a test in front of it, and behind it the mode.
_NODE = re.compile(rf"(?:[^\[\]]*\[)?(?P<id>[^\[\]]+?)(?:-(?P<mode>{_MODES}))?\]?")


def id_and_mode(text: str) -> tuple[str, str]:
    """A case's id and the mode behind it, which may be empty, of what pytest prints: ``test_it[ID-eager]``, or of an id alone."""
    found = _NODE.fullmatch(text)
    return (found["id"], found["mode"] or "") if found else (text, "")


def case_of(text: str, models_file: str = str(BUILT_IN)) -> Case:
    """The case with this id. Raises BadInput for an id of another form, or one that no case has any more."""
    name, _ = id_and_mode(text)
    found = ID.fullmatch(name)
    if found is None:
        raise BadInput(f"{text!r} is not the id of a case; expected one like {_EXAMPLE}, or options such as --models")
    cases = _shrunk(found, models_file) or _chosen(found, models_file)
    same = [case for case in cases if case.id == name]
    if not same:
        raise BadInput(f"no case has the id {name!r} any more: with that model and rule it is {cases[-1].id}")
    return same[0]


def _chosen(found: re.Match[str], models_file: str) -> list[Case]:
    """The cases that an id may mean: at small widths, as the varied modes have them, and at the width in it."""
    chosen = Selection(
        models=(found["model"],),
        hidden=(int(found["hidden"]),),
        rules=(found["rule"],),
        kernels=(found["kernel"],),
        tp=(int(found["tp"]),),
        tokens=(int(found["tokens"]),),
        modes=("eager",),
        ranks=REAL if found["collective"] else "",
        collectives=(found["collective"],) if found["collective"] else (),
        full=bool(found["full"]),
        models_file=models_file,
    )
    return [*(case.small() for case in replace(chosen, hidden=()).cases()), *chosen.cases()]


def _shrunk(found: re.Match[str], models_file: str) -> list[Case]:
    """The case of an id that `harness repro --shrink` gave; empty for another id."""
    model, sizes = read_name(found["model"])
    if not sizes:
        return []
    catalogue = load(Path(models_file))
    tp, tokens = int(found["tp"]), int(found["tokens"])
    case = Case.of(catalogue.shape(model), catalogue.rule(found["rule"]), found["kernel"], tp, tokens)
    sizes |= {"hidden": int(found["hidden"]), "latent": int(found["latent"]) if found["latent"] else None}
    for name in ("hidden", "intermediate", "shared", "latent"):
        if sizes[name] is not None:
            check_width(name, sizes[name], found.string)
    return [resized(case, sizes)]
