"""Lines that were there before: what they are is remembered, whatever numbers stand in what is put before them."""

from harness.diagnosis.log.lines import Line

# A log of failures has the same lines again and again: how many are remembered, and of what length.
_MOST, _SHORT = 8192, 1000
_DIGITS = b"0123456789"
_ONE_DIGIT = bytes.maketrans(_DIGITS, b"0" * 10)


class Memory:
    """Lines by their raw bytes. Times, processes and counters before a line's text may differ: a prefix is known by its form.

    What a line is depends on which signs its prefix has and where a digit stands there, never on which digit it is.
    """

    def __init__(self) -> None:
        self._prefixes: dict[
            bytes, int
        ] = {}  # the length of what stands before the text, by the form of the whole line
        self._known: dict[bytes, tuple[Line, bool, int]] = {}
        # Lines that were there twice as they stand, each without its number: they are found sooner.
        self._exact: dict[bytes, tuple[tuple[str, str, str, int, bool, int], bool]] = {}

    def get(self, raw: bytes, number: int) -> tuple[Line, bool] | None:
        """The line at ``number`` and whether it is an anchor, where one like it was kept."""
        if exact := self._exact.get(raw):
            return tuple.__new__(Line, (number, *exact[0])), exact[1]
        form = raw.translate(_ONE_DIGIT)
        length = self._prefixes.get(form)
        known = None if length is None else self._known.get(form[:length] + raw[length:])
        if known is None:
            return None
        line, anchor, place = known
        writer = raw[place : place + len(line.writer)].decode() if place >= 0 else line.writer
        told = writer, *line[2:]
        if len(self._exact) < _MOST:
            self._exact[raw] = told, anchor
        return tuple.__new__(Line, (number, *told)), anchor

    def keep(self, raw: bytes, line: Line, anchor: bool) -> None:
        """Remember a line."""
        if len(raw) >= _SHORT:
            return
        if max(len(self._known), len(self._prefixes)) >= _MOST:
            self.clear()
        length = max(raw.rfind(line.text.encode()), 0) if line.text else 0
        place = _place_of(line.writer, raw[:length])
        if place is None:
            length, place = 0, -1
        form = raw.translate(_ONE_DIGIT)
        self._prefixes[form] = length = min(length, self._prefixes.get(form, length))
        self._known[form[:length] + raw[length:]] = line, anchor, place

    def clear(self) -> None:
        """Forget all: what is a prefix has changed."""
        self._prefixes.clear()
        self._known.clear()
        self._exact.clear()


def _place_of(writer: str, prefix: bytes) -> int | None:
    """Where a writer's name stands in a prefix; -1 where it has no digit, and so is the same wherever the form is.

    None where it stands there more than once, or not as it is: which of the digits it has is then not known.
    """
    if not any(sign.isdigit() for sign in writer):
        return -1
    name = writer.encode()
    return prefix.find(name) if writer.isascii() and prefix.count(name) == 1 else None
