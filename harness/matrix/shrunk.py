"""A case with sizes of no model, as `harness repro --shrink` makes it. The name of its model says them, so its id is read back."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.matrix.case import Case

MARK = "-shrunk"
SIZES = ("hidden", "intermediate", "experts", "top_k", "shared", "latent", "tp", "tokens", "scaling")
_NAME = re.compile(
    r"(?P<model>.+)-shrunk-experts(?P<experts>\d+)-topk(?P<top_k>\d+)-intermediate(?P<intermediate>\d+)"
    r"(?:-shared(?P<shared>\d+))?(?:-scaling(?P<scaling>[\d.]+))?"
)


def sizes_of(case: Case) -> dict[str, Any]:
    """The sizes of a case by name; None where it has no such part."""
    return {name: getattr(case, name) for name in SIZES}


def resized(case: Case, sizes: Mapping[str, Any]) -> Case:
    """The case with these sizes in place of its own."""
    own = sizes_of(case) | dict(sizes)
    shape = replace(
        case.shape,
        name=_name(case.model.partition(MARK)[0], own),
        shared_intermediate=own["shared"],
        **{key: own[key] for key in ("hidden", "intermediate", "experts", "top_k", "latent")},
    )
    rest = {key: value for key, value in own.items() if key != "latent"}
    return replace(case, shape=shape, overridden=False, small_of=None, **rest)


def _name(model: str, sizes: Mapping[str, Any]) -> str:
    """The name of the model, with the sizes that an id does not hold otherwise."""
    parts = [f"experts{sizes['experts']}", f"topk{sizes['top_k']}", f"intermediate{sizes['intermediate']}"]
    parts += [f"shared{sizes['shared']}"] if sizes["shared"] else []
    parts += [f"scaling{sizes['scaling']:g}"] if sizes["scaling"] != 1 else []
    return f"{model}{MARK}-{'-'.join(parts)}"


def read_name(name: str) -> tuple[str, dict[str, Any]]:
    """The model that a name of ``resized`` began with, and the sizes in it; the name and none where it is another's."""
    found = _NAME.fullmatch(name)
    if found is None:
        return name, {}
    numbers = {key: int(found[key]) for key in ("experts", "top_k", "intermediate")}
    shared, scaling = found["shared"], found["scaling"]
    return found["model"], numbers | {"shared": int(shared) if shared else None, "scaling": float(scaling or 1)}
