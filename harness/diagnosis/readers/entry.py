"""The readers of kinds whose answer is the data file's own entry."""

import re
from typing import Any

from harness.diagnosis.diagnosis import OTHER, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import TORCHS_OWN, op_name
from harness.diagnosis.readers.ops.padding import fills_up, line_of
from harness.diagnosis.statements.masks import counts_rows_of_data, takes_by_mask
from harness.diagnosis.surroundings import Surroundings

_EXPRESSION = re.compile(
    r"expression (?:we were trying to evaluate is )?(?P<expression>.{1,300}?) \(unhinted|(?P<output>aten\.\w+)\.\w+"
    r"|expression (?P<bare>[A-Z][a-z]\([^()]{1,60}\))"
    r"|(?P<branch>[Dd]ata-dependent (?:branching|operator|jump|assertion))"
)
_FAKE_NAME = re.compile(r"(?<![a-z])(?:fake|meta|abstract)(?![a-z])", re.I)
# What shows that torch was asking a fake; frames of Dynamo alone stand above every compiled call.
_TRACING = re.compile(r"fake tensor|FakeTensor|fake_impl|register_fake|abstract_impl|_subclasses/")
_EXCEPTION = re.compile(r"(?:Error|Exception|Failed|Failure|Violation|Warning)\.__init__$")
# How far a message reaches on both sides of what was understood, and how far where no exception begins it.
_REACH, _WORDS = 160, 60
_CALLED = re.compile(r"torch\.ops\.\w+\.\w+")
# Words by which torch names the very op that lacks a fake.
_ITSELF = re.compile(r"nsupported operator: |UnsupportedOperatorException|attempted to run this operator with Meta")
_CHECKED = re.compile(r"\bopcheck\((?P<op>[A-Za-z_][\w.]*)")
# What a case may ask of the user's line, by its name in the data file.
_DOES = {"takes-by-mask": takes_by_mask, "counts-rows-of-data": counts_rows_of_data}
_BLANK = re.compile(r"\{\w+\}")


def read_entry(facts: Facts, around: Surroundings) -> Reading:
    """The entry's words, with what the text names put in."""
    answer: dict[str, Any] = dict(facts.match.kind.answer)
    for case in facts.match.kind.when:
        if _in_force(case, facts):
            answer |= case
    words = _words(facts)
    filled = {key: _filled(answer[key], words) for key in ("stage", "cause", "look") if key in answer}
    command = _filled(answer.get("try", ""), words)
    return Reading(
        verdict=answer["verdict"],
        title=answer.get("title", ""),
        cause=filled.get("cause", "") + answer.get("more", ""),
        stage=filled.get("stage", ""),
        look=filled.get("look", ""),
        against=tuple(answer.get("against", ())),
        tags=frozenset(answer.get("tags", ())) - ({"custom"} if _is_itself(facts, facts.op) else set()),
        tries=(command,) if command else (),
    )


def _in_force(case: dict[str, Any], facts: Facts) -> bool:
    """Whether the text has a case's words: where the case says near, in the message and at the user's line."""
    if not _at_line(case, facts.code) or ("pads" in case and not fills_up(line_of(facts))):
        return False
    if "text" not in case:
        return True
    text = f"{_sentence(facts)} {facts.user_line} {facts.function}" if "near" in case else facts.whole
    if not re.search(case["text"], text) or ("no" in case and re.search(case["no"], text)):
        return False
    return not ("outside" in case and facts.ran_inside_compiler)


def _at_line(case: dict[str, Any], code: str) -> bool:
    """Whether the user's line does what a case asks of it, or has its words; so too where the case asks nothing of it."""
    asked = [bool(re.search(case["at"], code))] if "at" in case else []
    asked += [_DOES[case["does"]](code)] if "does" in case else []
    return any(asked) or not asked


def _sentence(facts: Facts) -> str:
    """The message from its exception's name on, also where a terminal wrapped it; a few words of it where it has none."""
    place = max(facts.whole.find(facts.match.text), 0)
    begin = facts.whole.rfind("Error", max(place - _REACH, 0), place)
    return facts.whole[begin if begin >= 0 else max(place - _WORDS, 0) : place + len(facts.match.text) + _REACH]


def read_signature(facts: Facts, around: Surroundings) -> Reading:
    """A TypeError about arguments: of a fake where the text says so, else of any Python function."""
    function = facts.match.groups.get("function", "")
    # A fake is a function or a lambda: a method is called by the layer's own code, which is traced as well.
    method = "." in function.replace("<locals>.", "")
    if not function.endswith("__init__") and (
        _FAKE_NAME.search(function) or (not method and _TRACING.search(facts.whole))
    ):
        return read_entry(facts, around)
    if _EXCEPTION.search(function):
        return _remade(function)
    return Reading(
        verdict=OTHER,
        title="a function that is called with arguments which it does not take",
        cause=f"A Python function, {function}, is called with arguments that it does not take. "
        "Nothing in these lines says that it is a fake.",
        look="the line that calls it, and the function's own signature; the versions of the two packages",
    )


def _remade(function: str) -> Reading:
    """An exception's own constructor lacks an argument: what happens where it comes to another process."""
    name = function.removesuffix(".__init__").rpartition(".")[2]
    return Reading(
        verdict=OTHER,
        title="an exception that could not be made again",
        cause=f"An exception, {name}, was made without an argument that its class wants. Most often that is one that "
        f"is sent from one process to another (pickle): the failure itself is {name}'s own, in the process that raised it.",
        against=("a fake: the function is the constructor of an exception",),
        look=f"{name} further up in the log, and what it says there; the same run in one process (one rank) shows it",
    )


def _words(facts: Facts) -> dict[str, str]:
    groups, op = facts.match.groups, facts.op
    checked = _CHECKED.search(facts.code)
    named = op or groups.get("op", "") or (op_name(checked["op"]) or checked["op"] if checked else _called(facts))
    if "::" not in named and named and (called := _called(facts)).endswith(f"::{named}"):
        named = called  # the text has the op without its namespace, and the user's line has it whole
    found = _EXPRESSION.search(facts.whole)
    return {
        **groups,
        "op": _to_audit(named),
        "name": named or "a custom op",
        **_inner(facts, named or "a custom op", _outer(facts, named)),
        "op_named": f"The text names {named}." if named else "The text does not name it.",
        "op_or_one": named or "A custom op",
        "function": groups.get("function", "implementation").replace("<lambda>", "(a lambda)"),
        "arg": groups.get("arg", "an argument"),
        "defaults": "a default for it" if groups.get("count", "1") == "1" else "defaults for them",
        "lacks": _lacks(groups, facts.match.text),
        "multiple": groups.get("multiple", groups.get("block", "its own alignment")),
        "parameter": groups.get("parameter", "see the message"),
        "reason": groups.get("reason", "see the message").strip(),
        "expression": next(filter(None, found.groups()), "") if found else "a value",
        "torch_place": facts.torch_place or "torch's own compiler",
    }


def _lacks(groups: dict[str, str], message: str) -> str:
    """In words, what a fake lacks of the op's arguments: how many, or which."""
    if "multiple values" in message:
        return f"does not take the op's arguments in their order: {groups['arg']} comes twice"
    if "arg" in groups:
        return f"lacks the argument {groups['arg']}, which the op has"
    more = int(groups["given"]) - int(groups["most"]) if {"given", "most"} <= groups.keys() else 1
    if more < 2:
        return "lacks an argument that the op has"
    return f"lacks {more} arguments that the op has (it takes {groups['most']} of {groups['given']})"


def _outer(facts: Facts, named: str) -> str:
    """The op that the user's line calls, where it is another than the one that the text names; empty elsewhere."""
    op = _called(facts)
    return op if named and op != named else ""


def _inner(facts: Facts, named: str, outer: str) -> dict[str, str]:
    """In words, whether the op that is named is the inner one: the user's line calls the one around it, or torch names it itself."""
    if outer:
        calls = f"The user's line calls {outer}, whose fake or implementation calls {named}: the inner op is the one without a fake."
        return {"inner": f"{named}, which {outer} calls", "wrapper": calls}
    if _is_itself(facts, named):
        return {"inner": named, "wrapper": "The user's line calls that op."}
    wrapper = "The named one may be a wrapper whose fake calls another op: the op without a fake is then the inner one."
    return {"inner": f"{named}, or an op that it calls", "wrapper": wrapper}


def _is_itself(facts: Facts, named: str) -> bool:
    """Whether the user's line calls the op that torch names as the one without a fake."""
    return _called(facts) == named and bool(_ITSELF.search(facts.whole))


def _called(facts: Facts) -> str:
    """The op that the user's line calls; empty where it calls none."""
    found = _CALLED.search(facts.code)
    return op_name(found[0]) if found else ""


def _to_audit(op: str) -> str:
    """How a command names the op: NS:: before one that the text gives without its namespace, OP where it gives none to audit."""
    if op.isidentifier():
        return f"NS::{op}"
    return op if "::" in op and op.partition("::")[0] not in TORCHS_OWN else "OP"


def _filled(text: str, words: dict[str, str]) -> str:
    return _BLANK.sub(lambda blank: words.get(blank[0][1:-1], blank[0]), text)
