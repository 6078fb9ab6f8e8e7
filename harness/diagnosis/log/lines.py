"""Lines of a log without what was put before them or made of them: times, processes, levels, colours, escapes."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from harness.diagnosis.log.escapes import may_have_escapes, unescaped, without_colours
from harness.diagnosis.log.margins import ENDS, without_margin
from harness.diagnosis.log.objects import level_of
from harness.diagnosis.log.prefixes import SharedPrefixes, known_prefix, may_teach, rank_in

# How many lines after one are looked at for its prefix.
NEXT = 4
_MOST, _SHORT, _MOST_LEVELS = 4096, 1000, 32  # lines in other lines that are remembered
Following = Callable[[], Sequence[str]]
_LEVELS = re.compile(r"DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL|TRACE")
_PLAIN = ("Traceback (", '  File "', "torch._dynamo hit config")


class Line(NamedTuple):
    """A line of a log: its number from 1, who wrote it (a process, a rank; may be empty), the logger's level, the text.

    ``width`` is how many characters it had with its prefixes, and ``bare`` says that it had none. ``quoted`` counts the ``>``
    before the text: of quotations, and pytest's before the line that ran.
    """

    number: int
    writer: str
    level: str
    text: str
    width: int = 0
    bare: bool = True
    quoted: int = 0


class LineReader:
    """Reads the lines of one log in order: what lines before have shown to be a prefix is none of the text's."""

    def __init__(self) -> None:
        self._shared = SharedPrefixes()
        # Lines in other lines by their text, by the level of the line around them and whether that had several.
        self._all_parts: dict[tuple[str, bool], dict[str, Line]] = {}
        self._parts: dict[str, Line] = {}
        self._room = _MOST
        self._parts_with: list[str] = []
        self.knew = False  # whether all that was read last stood in another line and was read before
        self._read = "", False  # the line that was read last, and whether it holds other lines than itself

    def read(self, number: int, raw: str, following: Following = tuple) -> list[Line]:
        """The lines that one line of the log holds: one, or more where it is a string with line ends in it.

        ``following`` gives some of the lines after it.
        """
        whole, raw = raw, without_colours(raw)
        texts = unescaped(raw) if may_have_escapes(raw) else (raw,)
        self._read = whole, texts != (raw,)
        if texts == (raw,):
            self.knew = False
            return [self._line(number, raw, following)]
        level, several = level_of(raw), len(texts) > 1
        if len(self._all_parts) >= _MOST_LEVELS:
            self._all_parts.clear()
        self._parts = self._all_parts.setdefault((level, several), {})
        again = [self._again(number, text) for text in texts]
        self.knew = None not in again
        return (
            [line for line in again if line]
            if self.knew
            else [
                self._again(number, text) or self._part(number, texts, place, level, following)
                for place, text in enumerate(texts)
            ]
        )

    def _again(self, number: int, text: str) -> Line | None:
        """A line that stood in another and was read before; it is the same object where the line is that it stood in."""
        known = self._parts.get(text) if self._parts_with is self.forms else None
        if known is not None and known.number != number:
            known = self._parts[text] = tuple.__new__(Line, (number, *known[1:]))
        return known

    def _part(self, number: int, texts: Sequence[str], place: int, level: str, following: Following) -> Line:
        """A line that stands in another; one that teaches no prefix is remembered until the prefixes change."""
        text, forms, several = texts[place], self.forms, len(texts) > 1
        if self._parts_with is not forms or self._room <= 0:
            self._parts, self._parts_with, self._room = {}, forms, _MOST
            self._all_parts = {(level, several): self._parts}
        below = partial(_slice, texts, place + 1) if several else following
        line = self._piece(self._line(number, text, below), level, several)
        if forms is self.forms and len(text) < _SHORT and (not may_teach(text) or self._is_taught(text)):
            self._parts[text], self._room = line, self._room - 1
        return line

    @property
    def forms(self) -> list[str]:
        """The prefixes that lines before have shown: another list whenever they change."""
        return self._shared.forms

    def settled(self, raw: str) -> bool:
        """Whether nothing but the raw line and the forms decides what its line is: it teaches none."""
        whole, raw = raw, without_colours(raw)
        if may_teach(raw) and not self._is_taught(raw):
            return False
        if self._read[0] == whole:
            return not self._read[1]
        return not may_have_escapes(raw) or unescaped(raw) == (raw,)

    def _is_taught(self, raw: str) -> bool:
        """Whether a line that may teach a prefix has none but those that are known, or that an earlier line has taught."""
        if self.forms:
            return self._shared.length(raw) > 0
        known = known_prefix(raw)[0]
        return raw.startswith(_PLAIN, known) or not self._shared.teaches(raw, known)

    def _line(self, number: int, raw: str, following: Following) -> Line:
        """The line without its prefixes. The text's own indentation stays."""
        known, writer = known_prefix(raw)
        place, shared = known, self._shared.length(raw) if self._shared.forms else 0
        if shared:
            place = shared
        elif may_teach(raw) and (self._shared.forms or not raw.startswith(_PLAIN, known)):
            learnt, sure = self._shared.learn(raw, known, lambda: [plain(line) for line in following()])
            place, shared = learnt or known, learnt if sure else 0
        if shared:
            writer = known_prefix(raw[:shared])[1] or rank_in(raw[:shared])
        if place != known:
            more, other = known_prefix(raw[place:])
            place, writer = place + more, writer or other
        text, level = (raw[place:], _LEVELS.search(raw, 0, place)) if place else (raw, None)
        text = without_margin(text) if text[:1] == "E" or text[-1:] in ENDS else text
        return Line(number, writer, level[0] if level else "", text, len(raw), not place, raw.count("> ", 0, place))

    def _piece(self, line: Line, level: str, several: bool) -> Line:
        """A line that stood in another: no terminal broke it off the one before, or cut it."""
        width = 0 if several else line.width
        return line._replace(level=line.level or level, width=width, bare=line.bare and not several)


def plain(raw: str) -> str:
    """The first line that a raw one holds."""
    return unescaped(without_colours(raw))[0]


def _slice(texts: Sequence[str], start: int) -> Sequence[str]:
    return texts[start : start + NEXT]
