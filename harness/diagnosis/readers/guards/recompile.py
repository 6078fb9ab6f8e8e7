"""A function that is compiled again and again: by the guard in the text, what changes from call to call."""

import re
from dataclasses import replace

from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.guards.attributes import FILLS_ROWS, fills_rows, instead_of
from harness.diagnosis.readers.guards.failed import failed, guard_named, guarded_size, last_guard
from harness.diagnosis.readers.guards.limit import often, outcome, title, variants
from harness.diagnosis.readers.guards.on_data import multiple_in
from harness.diagnosis.readers.guards.strides import read_layout_guard
from harness.diagnosis.readers.ops.padding import fills_up, line_of
from harness.diagnosis.readers.pairs import counts_no_tokens, evident, nameless, of_a_layer, padded
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import Pair, read_pair

_TOKENS = re.compile(
    r"input_ids|positions|token|batch|hidden_states|topk_|router_logits|residual|num_tokens|rows|seq|\btoks?\b|hidden|\b(?:x|h|hs|tokens?)\b",
    re.I,
)
# A text that names a layer, or a guard on an argument that holds such a text.
_LAYER = re.compile(
    r"layer_name|\bprefix\b(?:['\"]\])? ?(?:==|!=|is) ?['\"]|(?:==|!=) ?['\"][\w.]*(?:layer|expert|mlp)[\w.]*['\"]"
)
_FUNCTION = re.compile(r"(?:function: '|Recompiling function )(?P<name>[\w.<>]+)(?:' \(| in )")
_PADS = " The guard or the line beside it speaks of padding: rows or columns that are filled up."
_NO_WORD, _BESIDE = "padding: neither the guard nor the line beside it has a word of it", 400
# What makes every size a constant of the compiled code, where the log says that it is set.
_STATIC = re.compile(r"compile\([^()\n]{0,200}\bdynamic ?= ?False|\bautomatic_dynamic_shapes ?= ?False")
_MADE_STATIC = " The log has {setting}: so no size becomes dynamic after it has changed, unless it is marked."
_TRY = ("harness check --modes compiled-dynamic",)


def read_recompile(facts: Facts, around: Surroundings) -> Reading:
    """A size that changes, a name that changes, or nothing that the text tells."""
    reading = _read(facts)
    static = _static(facts, around) if not reading.tags.isdisjoint(("fixed", "shapes")) else ""
    return replace(reading, title=title(facts), cause=f"{reading.cause}{static}{outcome(facts)}")


def _static(facts: Facts, around: Surroundings) -> str:
    """A sentence on what the log has that makes every size a constant; empty where it has nothing of the kind."""
    found = _STATIC.search(facts.whole) or _STATIC.search(around.start.decode("utf-8", "replace"))
    if not found:
        return ""
    return _MADE_STATIC.format(setting="torch.compile(dynamic=False)" if "compile" in found[0] else found[0])


def _read(facts: Facts) -> Reading:
    for match in facts.texts.every(facts.match):
        groups = match.groups
        if {"want", "got", "index"} <= groups.keys() and groups["want"].isdigit() and groups["got"].isdigit():
            found = groups["guarded"], int(groups["index"]), int(groups["want"]), int(groups["got"])
            return read_layout_guard(facts, *found) if "stride" in match.text else _resized(facts, *found)
    if _LAYER.search(_guards(facts)):
        return _named_layer()
    if "index" in facts.match.groups:
        return _unsized(facts, facts.match.groups["guarded"], facts.match.groups["index"])
    pads = _rounds_up(facts)
    if ranged := guarded_size(facts):
        return _ranged(facts, *ranged, pads)
    guard = facts.match.groups.get("guarded", "") or guard_named(facts)
    rows = pads and fills_rows(guard, f"{_beside(facts)} {line_of(facts)}")
    return Reading(
        verdict=FAMILY if rows else UNDECIDED if pads else OTHER,
        stage=guard,
        cause=f"One compiled function{_name(facts)} {often(facts, 'was given more variants')}. {last_guard(facts)}"
        + (FILLS_ROWS if rows else _PADS if pads else ""),
        against=(*(() if pads else (_NO_WORD,)), variants(facts)),
        look="; ".join(
            filter(None, (instead_of(guard, rows), "TORCH_LOGS=recompiles: the guard that fails each time"))
        ),
    )


def _rounds_up(facts: Facts) -> bool:
    """Whether the guard, or the code that torch prints beside it, rounds up to a multiple or speaks of padding."""
    return bool(multiple_in(facts.match.groups.get("guard", ""))) or fills_up(f"{_beside(facts)} {line_of(facts)}")


def _beside(facts: Facts) -> str:
    """The guard with the code that torch prints beside it."""
    place = max(facts.whole.find(facts.match.text), 0)
    return facts.whole[place : place + len(facts.match.text) + _BESIDE]


def _guards(facts: Facts) -> str:
    """What the text says of guards that failed: other words of it may name layers too."""
    return " ".join(match.text for match in (facts.match, *facts.texts.every(facts.match)))


def _unsized(facts: Facts, name: str, index: str) -> Reading:
    """A dimension that changes, where the text leaves out from what to what."""
    return Reading(
        verdict=UNDECIDED if index == "0" and _TOKENS.search(name) else OTHER,
        stage=f"dimension {index} of {name}",
        cause=f"One compiled function{_name(facts)} {often(facts, 'is called with more shapes')}: dimension {index} of {name} "
        "changes from call to call. The text does not give its sizes.",
        against=("padding: these lines give no sizes, and no two that meet",),
        look="TORCH_LOGS=recompiles for the sizes; torch._dynamo.mark_dynamic, or one compiled function for each group of shapes",
        tags=frozenset(("shapes",)),
    )


def _ranged(facts: Facts, name: str, index: str, guard: str, pads: bool) -> Reading:
    """A guard on a range of sizes, as a branch on a size makes it."""
    rows = index == "0" and not counts_no_tokens(name)
    return Reading(
        verdict=UNDECIDED if pads or (rows and _TOKENS.search(name)) else OTHER,
        stage=f"dimension {index} of {name}",
        cause=f"One compiled function{_name(facts)} {often(facts, 'is called with more shapes')}. {failed(facts)} the guard "
        f"{guard}: the compiled code is for those sizes alone, most often by a branch on dimension {index} of {name}."
        + (" Where that counts tokens, each range of them compiles again." if rows else "")
        + (_PADS if pads else ""),
        against=() if pads else (_NO_WORD,),
        look="the branch that the guard is of, at the line beside it in the text; TORCH_LOGS=recompiles for every guard",
        tags=frozenset(("shapes",)),
        tries=_TRY if rows else (),
    )


def _name(facts: Facts) -> str:
    """The function's name between commas; empty where the text does not name it."""
    found = _FUNCTION.search(facts.whole)
    return f", {found['name']}," if found else ""


def _resized(facts: Facts, name: str, index: int, want: int, got: int) -> Reading:
    pair = read_pair(want, got) if want != got and want and got else None
    if pair is not None and pair.padded and index:
        return _both_widths(facts, name, index, pair)
    perhaps = index == 0 and "parameter" not in facts.whole and not counts_no_tokens(name)
    if perhaps and _TOKENS.search(name) and not nameless(facts, name):
        return _token_count(facts, name, want, got)
    rows = " Where dimension 0 counts tokens, each batch size compiles again." if perhaps else ""
    fits = pair is not None and pair.possible
    return Reading(
        verdict=UNDECIDED if perhaps else OTHER,
        stage=f"dimension {index} of {name}",
        cause=f"One compiled function {often(facts, 'is called with more shapes')}: dimension {index} of {name} was "
        f"{want} and is {got}.{rows}",
        against=(
            "padding: the two sizes are of different calls, and were not compared"
            if fits or (pair is not None and pair.alignments)
            else f"padding: no rule makes {max(want, got)} of {min(want, got)}",
            *(() if perhaps else (f"the token count: {_no_tokens(name, index)}",)),
        ),
        look="TORCH_LOGS=recompiles; torch._dynamo.mark_dynamic, or one compiled function for each group of shapes",
        widths=tuple(Width(size, False, (), rows=index == 0, counted=index > 0) for size in (want, got)),
        rule="no rule",
        tags=frozenset(("shapes",)),
        tries=_TRY if perhaps else (),
    )


def _no_tokens(name: str, index: int) -> str:
    """In words, why a dimension counts no tokens."""
    return f"the guard is on dimension {index}" if index else f"{name} is no activation of a layer by its name"


def _both_widths(facts: Facts, name: str, index: int, pair: Pair) -> Reading:
    return padded(
        pair,
        sure=evident(facts, pair),
        stage=f"dimension {index} of {name}",
        cause=f"{name} comes at the true width in one call and padded in another: {pair.rounded()}.",
        against=("the token count: the guard is on a width",),
        look="who pads it, and where that is left out",
        tries=_TRY,
    )


def _token_count(facts: Facts, name: str, want: int, got: int) -> Reading:
    ours = of_a_layer(facts)
    what = "The token count is" if ours else f"Dimension 0 of {name}, a count of tokens or of samples, is"
    return Reading(
        verdict=FAMILY if ours else UNDECIDED,
        stage=f"dimension 0 of {name}",
        cause=f"{what} a constant in the compiled code: {want} in one call, {got} in another. Each batch size compiles again.",
        against=(f"padding: dimension 0 counts {'tokens' if ours else 'tokens or samples'}",),
        look="mark that dimension as dynamic; TORCH_LOGS=recompiles names what fixes it",
        widths=(Width(want, False, (), rows=True), Width(got, False, (), rows=True)),
        rule="no rule",
        tags=frozenset(("fixed",)),
        tries=_TRY,
    )


def _named_layer() -> Reading:
    return Reading(
        verdict=FAMILY,
        stage="an argument that names the layer",
        cause="A string that differs from layer to layer is a guard, so each layer compiles again.",
        against=("padding and token counts: the guard is on a name",),
        look="keep the layer's name out of what is traced, or make it part of the op's state",
        tags=frozenset(("name-guard",)),
        tries=_TRY,
    )
