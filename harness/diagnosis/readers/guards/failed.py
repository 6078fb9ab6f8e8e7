"""The guard that failed last before a function was compiled again, in words."""

import re

from harness.diagnosis.facts import Facts

_STATE = re.compile(r"GLOBAL_STATE changed: ?(?P<what>\w[\w, ]{0,80}\w)")
# A guard on which object something is.
_OBJECT = re.compile(
    r"___check_(?:obj|type)_id\((?P<what>[^,()]{1,120}),|ID_MATCH[^|]{0,10}\|\| ?\w+: ?(?P<id>\S{1,120})"
)
# A guard on the value of a number, a flag or a text: self.layer_idx == 7.
_VALUE = re.compile(
    r"(?:not )?(?:[A-Za-z_][\w.'\[\]]*) (?:==|!=|is) (?:-?\d[\w.]*|True|False|None|'[^']{0,60}'|\"[^\"]{0,60}\"|\([^()]{1,60}\))"
)
# A guard on how many entries a list or a dictionary has.
_LENGTH = re.compile(r"len\((?P<name>[^()]{1,80})\) (?:==|!=) (?P<length>\d+)")
# A guard on a size: 9 <= L['x'].size()[0] <= 16.
_SIZE = re.compile(r"(?:\d+ <=? )?(?P<name>[A-Za-z_][^ ()]{0,80})\.size\(\)\[(?P<index>\d)\] (?:==|!=|<=?|>=?) \d+")
_LONGEST = 80
_FROM_TO = re.compile(r"mismatch\. expected (?P<want>\w+), actual (?P<got>\w+)")


def guard_named(facts: Facts) -> str:
    """The last guard that failed, by its own text; empty where the text has none, or where torch says in words what failed."""
    text = _text(facts)
    if "mismatch" in text or _STATE.match(text) or _OBJECT.match(text):
        return ""
    known = next((found[0] for known in (_VALUE, _LENGTH, _SIZE) if (found := known.match(text))), "")
    return f"guard {known or text}" if known or 1 < len(text) <= _LONGEST else ""


def guarded_size(facts: Facts) -> tuple[str, str, str] | None:
    """The tensor, the dimension and the guard where the last one that failed is on a size; None for others."""
    found = _SIZE.match(_text(facts))
    return (found["name"], found["index"], found[0]) if found else None


def _text(facts: Facts) -> str:
    return " ".join(facts.match.groups.get("guard", "").split())


def last_guard(facts: Facts) -> str:
    """In words, what the guard that failed last says of what changes."""
    if guard := guard_named(facts):
        return f"{failed(facts)} the {guard}{_means(_text(facts))}"
    if "property" in facts.match.groups and "guarded" in facts.match.groups:
        what, name = facts.match.groups["property"], facts.match.groups["guarded"]
        sizes = _FROM_TO.search(facts.whole)
        change = f" ({sizes['want']} and {sizes['got']})" if sizes else ""
        return f"What failed is a guard on the {what} of {name}{change}: it differs between the calls."
    if found := _STATE.search(facts.match.text):
        return f"{failed(facts)} a guard on torch's own state, {found['what']}: it differs between the calls."
    if found := _OBJECT.search(facts.match.text):
        return (
            f"{failed(facts)} a guard on which object {(found['what'] or found['id']).strip()} is: each other module, function "
            "or class there compiles again."
        )
    return "The text does not say that a token count or a width is what changes."


def failed(facts: Facts) -> str:
    """How a sentence on the guard that was understood begins: of several recompilations the first is read, of a limit the last."""
    several = facts.whole.count("Recompiling function ") > 1 and "last reason" not in facts.whole
    return f"What failed {'first' if several else 'last'} is"


def _means(guard: str) -> str:
    """What such a guard says of the compiled code, behind a colon."""
    if _VALUE.match(guard):
        return ": the compiled code holds the one value that it had then, and each other value compiles again."
    if found := _LENGTH.match(guard):
        return f": the compiled code is for that many entries of {found['name']}, and each other number of them compiles again."
    return ". The text says no more of what changes."
