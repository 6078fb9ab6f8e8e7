"""Adapters (LoRA): the part of one that a statement or a near caller names."""

import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.readers.weights.named import weights_at
from harness.diagnosis.statements.met import met

# The ranks of latent attention have the word too: kv_lora_rank, q_lora_rank.
_LORA = re.compile(r"(?<![a-z])(?<!kv_)(?<!q_)lora(?!_rank)|(?<![a-z])adapters?(?![a-z])", re.I)
_LATENT = re.compile(r"(?:kv|q)_lora", re.I)
_SIDES = {
    "A": re.compile(r"(?<![a-z])lora_?(?:a|down|shrink)(?![a-z])|(?<![a-z])a_lora|bgmv_shrink", re.I),
    "B": re.compile(r"(?<![a-z])lora_?(?:b|up|expand)(?![a-z])|(?<![a-z])b_lora|bgmv_expand", re.I),
}
_WITHOUT = re.compile(r"with_?lora|base_layer", re.I)
_NEAR = 3
_LARGEST_RANK = 512


def adapter_part(facts: Facts) -> str:
    """The part of an adapter that the user's line names, else the function that it stands in or a near one; empty for none."""
    code = met(facts.code) if _LORA.search(facts.code) else ""
    if code and _LORA.search(code):
        return _part(_sides(code) or _sides(facts.function), facts)
    named = [name for name in _near(facts) if _LORA.search(name) and not _WITHOUT.search(name)]
    return _part(_sides(named[0]), facts) if named and not weights_at(facts.code) else ""


def is_adapters(text: str) -> bool:
    """Whether names are of an adapter, and not of latent attention's own low rank."""
    return bool(_LORA.search(text)) and not _LATENT.search(text)


def _near(facts: Facts) -> list[str]:
    """The functions that the failing line and its near callers stand in, the innermost first."""
    return [frame.function.rpartition(".")[2] for frame in reversed(facts.users[-_NEAR:])]


def _sides(text: str) -> list[str]:
    return [side for side, words in _SIDES.items() if words.search(text)]


def _part(sides: list[str], facts: Facts) -> str:
    """In words, which of both products it is: by its name, of two names by the sizes of a rank."""
    side = sides[0] if len(sides) == 1 else _by_sizes(facts) if sides else ""
    return f"product with LoRA {side} of an adapter" if side else "product of an adapter (LoRA)"


def _by_sizes(facts: Facts) -> str:
    """A gives the rank and B takes it: a rank is a small size; A or B where the message does not tell."""
    groups = facts.match.groups
    right = sizes(groups.get("b_shape", "")) or (groups.get("b", ""), groups.get("n", ""))
    deep, wide = (size.isdigit() and int(size) <= _LARGEST_RANK for size in ("", *right)[-2:])
    return "A or B" if deep == wide else "B" if deep else "A"
