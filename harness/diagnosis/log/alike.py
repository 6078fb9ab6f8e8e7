"""Lines of a log that are alike but for their digits: a few of them are read, and the others say nothing new."""

# How many lines of a form are read, as of whole failures, and how many forms are told apart.
_READ, _FORMS = 16, 8192
_DIGITS = b"0123456789"
_ONE_DIGIT = bytes.maketrans(_DIGITS, b"0" * 10)


class Alike:
    """What was read of each form: that its lines have a trigger and no failure, or some lines that began one.

    Without it, a log that has a trigger in every line would have every line read.
    """

    def __init__(self) -> None:
        self.passed = 0  # lines that would have begun a failure, and were only counted
        self._dull: set[bytes] = set()
        self._begun: dict[bytes, set[bytes]] = {}

    def dull(self, raw: bytes) -> None:
        """Remember a line that has a trigger and no failure."""
        if len(self._dull) >= _FORMS:
            self._dull.clear()
        self._dull.add(raw.rstrip(b"\n").translate(_ONE_DIGIT))

    def begun(self, raw: bytes) -> None:
        """Remember a line that began a failure."""
        raw = raw.rstrip(b"\n")
        form = raw.translate(None, _DIGITS)
        if form in self._begun or len(self._begun) < _FORMS:
            self._begun.setdefault(form, set()).add(raw)

    def clear(self) -> None:
        """Forget all: what is a prefix has changed."""
        self._dull.clear()
        self._begun.clear()

    def is_dull(self, raw: bytes) -> bool:
        """Whether a line of this form was read and is no failure's."""
        return raw.rstrip(b"\n").translate(_ONE_DIGIT) in self._dull

    def passes(self, chunk: bytes, place: int) -> int:
        """The end of the line around ``place``, where it need not be read; 0 where it is to be read."""
        end = chunk.find(b"\n", place)
        if end < 0 or not (self._dull or self._begun):
            return 0
        raw = chunk[chunk.rfind(b"\n", 0, place) + 1 : end]
        if raw.translate(_ONE_DIGIT) in self._dull:
            return end + 1
        read = self._begun.get(raw.translate(None, _DIGITS), ())
        if len(read) < _READ or raw in read:
            return 0
        self.passed += 1
        return end + 1
