"""An account as an SVG: two columns of boxes that meet, readable on a light and on a dark background."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from harness.account.account import BOTH, SHARED, Account, Step
from harness.account.text import UNICODE, notes, tensor, wrapped

_BOX, _GAP, _MARGIN, _LINE, _PAD = 520, 28, 24, 18, 10
_CHARACTERS = 62  # of a note in a box: 13 px monospace is 7.8 px wide
_STYLE = """
text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328; }
.name { font-weight: bold; font-size: 14px; } .dim { fill: #59636e; } .bad { fill: #c1121f; } .good { fill: #1a7f37; }
.back { fill: #ffffff; } .box { fill: #f6f8fa; stroke: #59636e; } .box.bad { fill: #fff0f0; stroke: #c1121f; stroke-width: 2; }
path { fill: none; stroke: #59636e; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .dim { fill: #9198a1; } .bad { fill: #ff8182; } .good { fill: #57d364; } .back { fill: #0d1117; }
.box { fill: #151b23; stroke: #9198a1; } .box.bad { fill: #3b1219; stroke: #ff8182; } path { stroke: #9198a1; }
}
"""


def svg(account: Account) -> str:
    """The picture, one well-formed SVG element."""
    columns = 2 if account.parted else 1
    width = 2 * _MARGIN + columns * _BOX + (columns - 1) * _GAP
    boxes = list(_placed(account, width))
    height = max(y + _height(step) for step, _, y in boxes) + _MARGIN
    title = [_text(_MARGIN, 34 + n * _LINE, "name", line) for n, line in enumerate(wrapped(account.title, width // 9))]
    parts = [*title, *_arrows(boxes), *(part for box in boxes for part in _box(*box)), *_end(account, height, width)]
    height += _LINE * len(_last_lines(account, width)) + _MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
    back = f'<rect class="back" width="{width}" height="{height}"/>'
    return "\n".join(
        [head, f"<title>{escape(account.case)}</title>", f"<style>{_STYLE}</style>", back, *parts, "</svg>\n"]
    )


def _placed(account: Account, width: int) -> Iterator[tuple[Step, int, int]]:
    """Each step with the left and top edge of its box: routed left, shared right, what both made in the middle."""
    start = 34 + _LINE * len(wrapped(account.title, width // 9)) + 10
    left = right = start
    for step in account.steps:
        if not account.parted or step.branch == BOTH:
            top = max(left, right)
            yield step, (width - _BOX) // 2, top
            left = right = top + _height(step) + _GAP
        elif step.branch == SHARED:
            yield step, width - _MARGIN - _BOX, right
            right += _height(step) + _GAP
        else:
            yield step, _MARGIN, left
            left += _height(step) + _GAP


def _height(step: Step) -> int:
    return 2 * _PAD + _LINE * (2 + len(_notes(step)))


def _notes(step: Step) -> list[tuple[str, str]]:
    return [(style, line) for style, text in notes(step) for line in wrapped(text, _CHARACTERS)]


def _box(step: Step, x: int, y: int) -> Iterator[str]:
    bad = " bad" if step.bad else ""
    yield f'<rect class="box{bad}" x="{x}" y="{y}" width="{_BOX}" height="{_height(step)}" rx="6"/>'
    rows = [("name", step.stage), ("text", " ".join(tensor(step, UNICODE).split())), *_notes(step)]
    for place, (style, line) in enumerate(rows, 1):
        yield _text(x + _PAD, y + _PAD + place * _LINE - 5, style, line)


def _arrows(boxes: list[tuple[Step, int, int]]) -> Iterator[str]:
    ends = {step.number: (x + _BOX // 2, y + _height(step)) for step, x, y in boxes}
    for step, x, y in boxes:
        for source in step.inputs:
            if source in ends:
                (from_x, from_y), to_x = ends[source], x + _BOX // 2
                middle = (from_y + y) // 2
                yield f'<path d="M{from_x} {from_y}C{from_x} {middle} {to_x} {middle} {to_x} {y}"/>'


def _last_lines(account: Account, width: int) -> list[tuple[str, str]]:
    if not account.findings:
        return [("good", "real, fake and oracle agree at every step of a plain call")]
    return [("bad", line) for text in account.findings for line in wrapped(text, width // 9)]


def _end(account: Account, top: int, width: int) -> Iterator[str]:
    for place, (style, line) in enumerate(_last_lines(account, width), 1):
        yield _text(_MARGIN, top + place * _LINE, style, line)


def _text(x: int, y: int, style: str, text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text)
    return f'<text class="{style}" x="{x}" y="{y}" xml:space="preserve">{escape(shown)}</text>'
