"""Shapes of published MoE layers and alignment rules, read from a models file and checked."""

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput, nearest, unknown
from harness.base.text_file import read_regular
from harness.matrix.paths import PATHS

BUILT_IN = Path(__file__).parent / "data" / "models.json"
ACTIVATIONS = ("silu", "relu2", "clamped-swiglu", "gelu-tanh")
# An activation whose definition is not public is replaced by the nearest known one; ``Case.changes`` reports it.
STAND_INS = {"situ": "silu"}
NVFP4_BLOCK = 16
# Above any published width, token count or number of experts. A typo of ten digits would otherwise end as "out of memory".
LARGEST = 1_048_576
_LONGEST_NAME = 100
_KEYS = ("name", "hidden", "intermediate", "experts", "top_k", "shared_intermediate", "latent", "activation", "gated")
_NOTES = ("about", "quantization", "source", "why")  # for the file's reader alone
_RULE_KEYS = ("hidden", "intermediate", "intermediate_gated", "intermediate_non_gated")


@dataclass(frozen=True, slots=True)
class Alignment:
    """The multiples that a padded backend rounds widths up to, in elements."""

    name: str
    hidden: int
    intermediate_gated: int
    intermediate_non_gated: int

    def intermediate(self, gated: bool) -> int:
        """The multiple that the expert width is rounded up to."""
        return self.intermediate_gated if gated else self.intermediate_non_gated


@dataclass(frozen=True, slots=True)
class Shape:
    """One model's MoE layer, at its published sizes. Widths in elements; None where the model has no such part.

    ``source`` is the path of its models file, empty for the built-in one. ``path`` names the code path of an engine's layer that
    the shape is for (``harness.matrix.paths``); empty for every other shape.
    """

    name: str
    hidden: int
    intermediate: int
    experts: int
    top_k: int
    shared_intermediate: int | None
    latent: int | None
    activation: str
    gated: bool
    source: str = ""
    path: str = ""


# One shape for each combination of parts, for proofs. A proof holds at every size; these sizes are traced first.
ANY = {
    shape.name: shape
    for shape in (
        Shape("any-plain", 2688, 64, 4, 2, None, None, "silu", True),
        Shape("any-shared", 2688, 64, 4, 2, 64, None, "silu", True),
        Shape("any-latent", 2688, 64, 4, 2, None, 1344, "silu", True),
        Shape("any-shared-latent", 2688, 64, 4, 2, 64, 1344, "silu", True),
    )
}
# One small shape for each code path of an engine's layer.
PATH_SHAPES = {
    name: Shape(name, path.hidden, 64, 3, path.top_k, path.shared, path.latent, "silu", True, path=name)
    for name, path in PATHS.items()
}
_BY_NAME = ANY | PATH_SHAPES
_MADE_UP = ("synthetic-", *_BY_NAME)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The shapes and alignment rules of a models file, by name."""

    shapes: dict[str, Shape]
    rules: dict[str, Alignment]

    def shape(self, name: str) -> Shape:
        """The shape called ``name``: the file's, of ``ANY``, or of a path. Raises BadInput with the nearest names."""
        if name not in self.shapes and name not in _BY_NAME:
            starts = {"any": ANY, "vllm": PATH_SHAPES, "sglang": PATH_SHAPES}
            raise unknown("model", name, starts.get(name.partition("-")[0], self.shapes))
        return self.shapes.get(name) or _BY_NAME[name]

    def rule(self, name: str) -> Alignment:
        """The alignment rule called ``name``. Raises BadInput with the nearest names."""
        if name not in self.rules:
            raise unknown("alignment rule", name, self.rules)
        return self.rules[name]


def check_width(what: str, width: Any, where: str) -> int:
    """Return ``width`` if it is a positive multiple of the NVFP4 block of 16, else raise BadInput."""
    if not isinstance(width, int) or isinstance(width, bool) or width <= 0 or width % NVFP4_BLOCK:
        raise BadInput(f"{where}: {what} is {width!r}; NVFP4 scales blocks of 16, so give a positive multiple of 16")
    if width > LARGEST:
        raise BadInput(f"{where}: {what} is {_short(width)}; expected at most {LARGEST:,}")
    return width


def _short(number: int) -> str:
    """A number as text. Python refuses to write one of more than 4,300 digits."""
    return str(number) if number.bit_length() < 100 else f"a number of {number.bit_length()} bits"


def _count(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadInput(f"{where}: {key} is {value!r}; expected a whole number of 1 or more")
    if value > LARGEST:
        raise BadInput(f"{where}: {key} is {_short(value)}; expected at most {LARGEST:,}")
    return value


def _optional_width(entry: dict[str, Any], key: str, where: str) -> int | None:
    return None if entry.get(key) is None else check_width(key, entry[key], where)


def _check_name(name: str, where: str) -> None:
    """A name stands in a case's id, in lists with commas and after pytest's ``-k``, whose grammar has only these signs."""
    if len(name) > _LONGEST_NAME:
        raise BadInput(f"{where[:160]}...: a name of {len(name)} signs; expected at most {_LONGEST_NAME}")
    if not re.fullmatch(r"[\w.+/][\w.+/-]*", name):
        signs = "letters, digits and . _ + - /, the first no dash,"
        raise BadInput(f"{where}: expected a name of {signs} that can be typed after pytest's -k")


def _check_keys(entry: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    """Refuse an unknown key: a typo in an optional one would drop a part of the layer without a word."""
    for key in entry:
        if key not in keys and key not in _NOTES:
            near = nearest(key, keys, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(keys)}"
            raise BadInput(f"{where}: unknown key {key!r}; {hint}")


def read_shape(entry: Any, source: str) -> Shape:
    """One entry of a models file as a Shape. Raises BadInput, which names the entry and the key."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadInput(f"{source}: each model is an object with a 'name'; found {str(entry)[:60]!r}")
    where = f"{source}: model {entry['name']!r}"
    _check_name(entry["name"], where)
    _check_keys(entry, _KEYS, where)
    experts, top_k = _count(entry, "experts", where), _count(entry, "top_k", where)
    if top_k > experts:
        raise BadInput(f"{where}: top_k {top_k} is above its {experts} experts; expected at most that many")
    activation = entry.get("activation")
    if activation not in (*ACTIVATIONS, *STAND_INS):
        raise BadInput(f"{where}: activation {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
    if not isinstance(entry.get("gated"), bool):
        raise BadInput(f"{where}: gated is {entry.get('gated')!r}; expected true or false")
    return Shape(
        name=entry["name"],
        hidden=check_width("hidden", entry.get("hidden"), where),
        intermediate=check_width("intermediate", entry.get("intermediate"), where),
        experts=experts,
        top_k=top_k,
        shared_intermediate=_optional_width(entry, "shared_intermediate", where),
        latent=_optional_width(entry, "latent", where),
        activation=activation,
        gated=entry["gated"],
    )


def read_rule(name: str, entry: Any, source: str) -> Alignment:
    """One alignment rule of a models file. Its key ``intermediate`` sets both the gated and the non-gated multiple."""
    where = f"{source}: alignment rule {name!r}"
    _check_name(name, where)
    if not isinstance(entry, dict):
        raise BadInput(f"{where}: expected an object with 'hidden' and 'intermediate'")
    _check_keys(entry, _RULE_KEYS, where)
    both = entry.get("intermediate")
    gated, plain = entry.get("intermediate_gated", both), entry.get("intermediate_non_gated", both)
    return Alignment(
        name,
        check_width("hidden", entry.get("hidden"), where),
        check_width("intermediate_gated", gated, where),
        check_width("intermediate_non_gated", plain, where),
    )


def _load_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_regular(path))
    except OSError as error:
        raise BadInput(f"cannot read the models file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is not a valid models file: {error}; expected JSON like `harness list --json`"
        ) from None
    if not isinstance(data, dict) or not isinstance(data.get("models"), list):
        raise BadInput(f"{path} is not a valid models file: expected an object with a list 'models'")
    for key, kind, what in (("synthetic", list, "a list"), ("alignment", dict, "an object")):
        if not isinstance(data.get(key, kind()), kind):
            raise BadInput(f"{path} is not a valid models file: expected {what} as {key!r}")
    if not data["models"] and not data.get("synthetic"):
        raise BadInput(f"{path} is not a valid models file: it holds no model")
    return data


@cache
def load(path: Path = BUILT_IN) -> Catalogue:
    """Read and check a models file. It inherits the built-in rules. Raises BadInput."""
    data, source = _load_json(path), path.name
    origin = "" if path == BUILT_IN else str(path)
    entries = [*data["models"], *data.get("synthetic", [])]
    shapes = [replace(read_shape(entry, source), source=origin) for entry in entries]
    names = [shape.name for shape in shapes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{source}: two models are called {twice!r}; expected each name once")
    rules = {} if path == BUILT_IN else dict(load().rules)
    given = {name: entry for name, entry in data.get("alignment", {}).items() if name != "about"}
    rules |= {name: read_rule(name, entry, source) for name, entry in given.items()}
    return Catalogue({shape.name: shape for shape in shapes}, rules)


def published(name: str) -> bool:
    """Whether a model's name is that of a published model: none of a path, of a proof or of a made-up shape."""
    return not name.startswith(_MADE_UP)
