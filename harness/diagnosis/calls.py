"""What a text says of a call that torch made: the op, what Dynamo ran with fake tensors, and the sizes of those."""

import re

from harness.diagnosis.known.kinds import Match
from harness.diagnosis.notation import op_name

_FAKE = re.compile(r"FakeTensor\(\.\.\.(?P<head>[^()]*?)size=\((?P<size>[^()]*)\)(?P<tail>[^()]*)\)")
_CALLED = re.compile(
    r"(?:fake tensors?:|Failed running|when running) ?call_(?:function|method|module) ?<?"
    r"(?:built-in (?:function|method) |function |OpOverload\(op=')?(?P<name>[\w.]+)"
)
_OP_LINE = re.compile(r"Error in op: ?(?P<op>[\w.:]+)")
# Newer releases name the op in the assert itself, as they name an input there.
_ASSERTED = re.compile(r"assert_size_stride\(\w+,\([^()]*\),\([^()]*\),['\"](?P<op>torch\.ops\.[\w.]+)['\"]\)")
# Where an implementation raised a TypeError, Dynamo names the op before it.
_DEBUGGED = re.compile(r"debug context: TypeError (?P<op>\w+\.\w+): ")


def op_in(whole: str, match: Match) -> str:
    """The op that a text names, as ns::name; empty where it names none."""
    line = _OP_LINE.search(whole) or _asserted(whole)
    if line and line["op"] != "input":
        return op_name(line["op"])
    if "op" in match.groups and op_name(match.groups["op"]):
        return op_name(match.groups["op"])
    if found := _DEBUGGED.search(whole):
        return op_name(found["op"])
    found = _CALLED.search(whole)
    if found and "." in found["name"] and not found["name"].startswith(("torch.", "operator.")):
        return op_name(found["name"])
    return ""


def _asserted(whole: str) -> re.Match[str] | None:
    """The assert that failed: of a listing the last one, if the text goes on to its message."""
    found = [*_ASSERTED.finditer("".join(whole.split()))]
    return found[-1] if len(found) == 1 or (found and "expected size" in whole) else None


def called_in(whole: str) -> str:
    """What Dynamo was running with fake tensors: add, view, a custom op; empty where the text does not say."""
    found = _CALLED.search(whole)
    return found["name"].rpartition(".")[2] if found else ""


def fakes_in(whole: str, parameters: bool = True) -> tuple[tuple[str, ...], ...]:
    """The sizes of the fake tensors in a text; without ``parameters`` of activations alone, as only those have tokens."""
    found = [fake for fake in _FAKE.finditer(whole) if parameters or not whole[: fake.start()].endswith("Parameter(")]
    return tuple(tuple(part.strip() for part in fake["size"].split(",") if part.strip()) for fake in found)
