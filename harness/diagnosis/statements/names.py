"""Which projection of a layer a name is of, by its words."""

import re

SECOND, FIRST, GATE = "second projection", "first projection", "gate projection"
TO_LATENT, FROM_LATENT = "projection to the latent width", "projection from the latent width"
LATENT = "latent projection"
_SECOND = frozenset(("down", "w2", "fc2", "linear2", "lin2", "downproj", "wdown"))
_FIRST = frozenset(("up", "w1", "w3", "w13", "w31", "fc1", "linear1", "lin1", "upproj", "gateup", "gateupproj", "wup"))
_GATE = frozenset(("gate", "gateproj", "wgate"))
_LATENT = frozenset(("latent", "hidden", "to", "from"))
_SHARED = frozenset(("shared", "shexp"))
_PARTS = _SECOND | _FIRST | _GATE | _LATENT
# What a name has beside the projection: that it is a weight, and in which form or of what it is one.
_OF_A_WEIGHT = re.compile(
    r"w|wt|weights?|proj|projs|projection|mat|matrix|kernel|linear|lin|qweight|params?|t|transposed"
)
_BESIDE = re.compile(
    rf"{_OF_A_WEIGHT.pattern}|data|packed|fp[48]|nvfp4|mxfp[48]|bf16|int[48]|q|dq|dequant(?:ized)?|quant|lists?|stack(?:ed)?|bank|s|all"
    r"|experts?|exps?|e|moe|ffn|mlp|full|padded|pad|local|shard(?:ed)?|routed|shared|shexp|col|row|parallel|merged|fused|layer|my|cached"
)
_WORD = re.compile(r"[A-Z]+\d*(?![a-z])|[A-Z]?[a-z]+\d*|\d+")


def projection_of(name: str, attribute: bool = True) -> str:
    """The projection that a name is of; empty for none. A word alone, such as up, counts for an ``attribute`` and no variable."""
    words = words_of(name)
    own = [word for word in words if not _BESIDE.fullmatch(word)]
    if "latent" in words:
        return _latent(words) if set(own) <= _LATENT | _SECOND | _FIRST else ""
    alone = len(words) == 1 and words[0] in ("up", "down", "gate") and not attribute
    if not own or alone or not set(own) <= _SECOND | _FIRST | _GATE:
        return ""
    if set(own) <= _GATE:
        return GATE if len(words) > 1 or own[0] != "gate" else ""
    return FIRST if set(own) <= _FIRST | _GATE else SECOND if set(own) <= _SECOND else ""


def is_of_shared(name: str) -> bool:
    """Whether a name is of the shared expert."""
    return not _SHARED.isdisjoint(words_of(name))


def says_weight(name: str) -> bool:
    """Whether a name has a word that weights have: w_t, proj, kernel."""
    return any(_OF_A_WEIGHT.fullmatch(word) for word in words_of(name))


def words_of(name: str) -> list[str]:
    """The words of a name in small letters: w13, down, proj of ``W13_downProj``; a number belongs to the word before it."""
    return [_known(word.lower()) for word in _WORD.findall(re.sub(r"_(?=\d)", "", name))]


def _known(word: str) -> str:
    """A word as it is known, else without a number or the s of several at its end."""
    known = word in _PARTS or _BESIDE.fullmatch(word)
    return word if known else word.rstrip("0123456789").removesuffix("s") or word


def _latent(words: list[str]) -> str:
    """Which way a latent projection goes, as far as its name says."""
    place = words.index("latent")
    if {"up", "fc2"} & set(words) or words[place + 1 : place + 2] == ["to"] or "from" in words[:place]:
        return FROM_LATENT
    return TO_LATENT if {"down", "fc1"} & set(words) or "to" in words[:place] else LATENT
