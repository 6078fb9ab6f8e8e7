"""Lines that stood in a JSON object: what they are is remembered by the text in it, whatever numbers its other members have."""

import json

from harness.diagnosis.log.lines import Line
from harness.diagnosis.log.objects import object_in, printed

_DIGITS = b"0123456789"
_ONE_DIGIT = bytes.maketrans(_DIGITS, b"0" * 10)
_ROOM = 4 << 20  # bytes of raw lines that are remembered

Found = list[tuple[Line, bool]]


class Carried:
    """What was read of raw lines that are objects, by the place of the text in the whole line's form."""

    def __init__(self) -> None:
        self._room = _ROOM
        self._regions: dict[bytes, tuple[int, int]] = {}
        self._known: dict[bytes, Found] = {}

    def get(self, raw: bytes, number: int) -> Found | None:
        """The lines in the one at ``number``, each with whether it is an anchor, where one like it was kept."""
        form = raw.translate(_ONE_DIGIT)
        start, end = self._regions.get(form, (0, 0))
        known = self._known.get(form[:start] + raw[start:end] + form[end:]) if end else None
        if known is None:
            return None
        return [(tuple.__new__(Line, (number, *line[1:])), anchor) for line, anchor in known]

    def keep(self, raw: bytes, found: Found) -> None:
        """Remember what was read, if one text in the object is all of it: no number beside that text can change it."""
        whole = object_in(raw.decode("ascii", "replace"))
        if whole is None or not raw.isascii() or b"\\u" in raw:
            return
        text = json.dumps(printed(whole))[1:-1].encode()
        if not text or raw.count(text) != 1:
            return
        self._room -= len(raw)
        if self._room < 0:
            self.clear()
        form, start = raw.translate(_ONE_DIGIT), raw.find(text)
        end = start + len(text)
        self._regions[form] = start, end
        self._known[form[:start] + raw[start:end] + form[end:]] = found

    def clear(self) -> None:
        """Forget all: what is a prefix has changed."""
        self._room = _ROOM
        self._regions.clear()
        self._known.clear()
