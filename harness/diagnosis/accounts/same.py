"""When two answers are of one failure, and how often it happened then."""

import re
from dataclasses import replace

from harness.diagnosis.accounts.lines import are_apart
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.log.again.told import are_two, logs, repeats
from harness.diagnosis.log.forms import SUMMARY

# How far below one telling another of the same failure may begin that names the line which the first leaves out.
_NEAR = 2
# Kinds that torch tells twice: a warning with the guard, then an exception without it; one exception and the next.
_TWICE = frozenset(("recompile", "constraint", "data-dependent", "view", "device-assert", "illegal-access"))
_NUMBER = re.compile(r"\d+")


def same(one: Diagnosis, other: Diagnosis, copied: bool = False) -> bool:
    """Whether two say the same: in numbers or of an op, one of them perhaps without; else in words.

    Two lines of the user's are two failures, unless the one is ``copied``: a process was told of what another one raised.
    """
    if one.kind != other.kind or (one.op and other.op and one.op != other.op):
        return False
    if not copied and are_apart(one, other):
        return False
    if repeats(one.what, other.what) or logs(one.what, other.what):
        return True
    sizes, others = {width.size for width in one.widths}, {width.size for width in other.widths}
    if sizes or others or one.op or other.op or one.kind in _TWICE:
        return (sizes == others and not _turned(one, other, sizes)) or not sizes or not others
    if one.what == other.what:
        return True
    bare = not (one.user_line and other.user_line)  # a title has no frames, and so the stage of the kind alone
    return (one.stage == other.stage or bare) and bool(one.stage or one.kind == "reshape") and one.cause == other.cause


def _turned(one: Diagnosis, other: Diagnosis, sizes: set[int]) -> bool:
    """Whether the same words have the same sizes in another order: then the other operand is the padded one."""
    orders = ([number for number in map(int, _NUMBER.findall(each.what)) if number in sizes] for each in (one, other))
    first, second = orders
    return are_two(one.what, other.what) and first != second


def joined(one: Diagnosis, other: Diagnosis) -> Diagnosis:
    """The fuller of two answers of one failure, with the processes and the number of both."""
    fuller, less = (other, one) if _fullness(other) > _fullness(one) else (one, other)
    writers = tuple(dict.fromkeys((*fuller.writers, *less.writers)))
    near = other.lines[0] - one.lines[1] <= _NEAR
    user_line = fuller.user_line or (less.user_line if near else "")
    apart = bool(one.writers and other.writers and one.user_line and other.user_line)
    processes = apart and not {*one.writers} & {*other.writers}
    two = (
        (one.kind not in _TWICE and are_two(one.what, other.what)) or _are_two_tests(one.what, other.what) or processes
    )
    count = one.count + other.count if two else max(one.count, other.count)
    return replace(fuller, count=count, writers=writers, user_line=user_line)


def _are_two_tests(one: str, other: str) -> bool:
    """Whether two lines of pytest's summary are of two tests."""
    names = [message.partition(" - ")[0] for message in (one, other) if SUMMARY.match(message)]
    return len({*names}) == 2


def _fullness(one: Diagnosis) -> tuple[bool, ...]:
    return tuple(map(bool, (one.widths, one.op, one.tokens, one.stage, one.phase, one.user_line)))
