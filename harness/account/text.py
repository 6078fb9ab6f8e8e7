"""An account as lines for a terminal: a graph of branches at the left, each step in two lines beside it."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.account.account import BOTH, SHARED, Account, Step
from harness.base.printable import printable

NAME, TEXT, DIM, BAD, GOOD = "name", "text", "dim", "bad", "good"
Part = tuple[str, str]
Row = tuple[Part, ...]
_STAGE, _SHAPE, _STRIDE = 22, 13, 18
_LEAST = 40


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs of the graph: a step, a step where something parts, lines, and how branches part and meet."""

    step: str
    bad: str
    line: str
    parts: str
    meets: str
    times: str
    ellipsis: str


UNICODE = Signs("●", "✗", "│", "├─╮", "├─╯", "\u00d7", "…")
ASCII = Signs("*", "x", "|", "|\\", "|/", "x", "...")


def rendered(account: Account, width: int, signs: Signs) -> Iterator[Row]:
    """The lines, none wider than ``width`` columns where words allow."""
    width = max(width, _LEAST)
    for line in wrapped(account.title, width):
        yield ((NAME, line),)
    yield ()
    two = met = False
    for place, step in enumerate(account.steps):
        if step.branch == BOTH and two and not met:
            yield ((TEXT, signs.meets),)
            met, two = True, False
        yield from _step(step, account, two, width, signs)
        if place == 0 and account.parted:
            yield ((TEXT, signs.parts),)
            two = True
    yield ()
    yield from _end(account, width)


def _step(step: Step, account: Account, two: bool, width: int, signs: Signs) -> Iterator[Row]:
    mark = signs.bad if step.bad else signs.step
    lanes = (f"{signs.line} {mark}" if step.branch == SHARED else f"{mark} {signs.line}") if two else mark
    below = f"{signs.line} {signs.line}" if two else signs.line
    if step is account.steps[-1]:
        below = " "
    margin = 6
    yield (
        (BAD if step.bad else TEXT, f"{lanes:<{margin}}"),
        (NAME, f"{step.stage:<{_STAGE}} "),
        (TEXT, cut(tensor(step, signs), width - margin - _STAGE - 1, signs)),
    )
    for style, text in notes(step):
        for line in wrapped(text, width - margin - 2):
            yield ((TEXT, f"{below:<{margin}}"), (style, f"  {line}"))


def tensor(step: Step, signs: Signs) -> str:
    """Shape, stride and dtype of what a step made."""
    if not step.dtype:
        return "nothing"
    shape = f" {signs.times} ".join(map(str, step.shape))
    stride = f"stride {', '.join(map(str, step.stride))}"
    view = "" if step.contiguous else "  not contiguous"
    return f"{shape:<{_SHAPE}} {stride:<{_STRIDE}} {step.dtype}{view}".rstrip()


def notes(step: Step) -> Iterator[Part]:
    """What is said below a step: its rule, its ops and line, and where something parts."""
    if step.meets:
        yield TEXT, step.meets
    if step.rule:
        yield TEXT, step.rule
    ops = ", ".join(dict.fromkeys(step.ops))
    if step.line is not None:
        yield DIM, printable(f"{ops}  {step.line}: {step.line.text}")
    elif ops:
        yield DIM, ops
    if step.error:
        yield BAD, printable(f"raised: {step.error}")
    if step.fake:
        yield BAD, printable(f"real and fake part: {step.fake}")
    if step.oracle:
        yield BAD, step.oracle
    if step.findings:
        yield BAD, f"found here: {', '.join(step.findings)}"


def _end(account: Account, width: int) -> Iterator[Row]:
    if not account.findings:
        yield ((GOOD, "real, fake and oracle agree at every step of a plain call"),)
    for finding in account.findings:
        first, *rest = wrapped(printable(finding), width - 2)
        yield ((BAD, first),)
        for line in rest:
            yield ((TEXT, f"  {line}"),)
    if account.reproduce:
        yield ((DIM, f"judge it: {account.reproduce}"),)


def cut(text: str, width: int, signs: Signs) -> str:
    """The text, or its beginning where it is wider."""
    return text if len(text) <= width else text[: max(0, width - len(signs.ellipsis))] + signs.ellipsis


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` columns; a word that is wider is broken."""
    import textwrap

    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
