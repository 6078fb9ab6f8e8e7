"""Which words a line of a log may have, remembered by the line without its digits: a log has few such forms."""

from collections.abc import Iterator, Sequence

_DIGITS = b"0123456789"
# How many bytes of lines are remembered, and how short lines are on the average for which it does not pay.
_ROOM, _SHORT = 2 << 20, 12


class Known:
    """The numbers of the words that lines may have, by the lines' forms. A word without digits is in no line whose form lacks it."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self._words = words
        self._bare = [word.translate(None, _DIGITS) for word in words]
        self._of: dict[bytes, tuple[int, ...]] = {}
        self._room = _ROOM

    def places(self, chunk: bytes) -> list[tuple[int, int]]:
        """Where in a chunk of whole lines each word is, in order, and the word's number."""
        if chunk.find(b"\n", 0, -1) < 0:  # one line, whose own line ends are escaped; each place stays where it is
            chunk = chunk.replace(b"\\n", b"\n\n")
        forms = chunk.translate(None, _DIGITS).split(b"\n")
        if len(forms) * _SHORT > len(chunk) or not self._learns(set(forms), len(chunk)):
            return _everywhere(chunk, self._words)
        found, start, words, known = [], 0, self._words, self._of
        for form, raw in zip(forms, chunk.split(b"\n"), strict=True):
            for number in known[form]:
                place = raw.find(words[number])
                while place >= 0:
                    found.append((start + place, number))
                    place = raw.find(words[number], place + 1)
            start += len(raw) + 1
        found.sort()
        return found

    def _learns(self, forms: set[bytes], size: int) -> bool:
        """Look for the words in the forms that are not known yet, in all at once; not where there is always more that is new."""
        text = b"\n".join(forms.difference(self._of))
        self._room -= len(text)
        if self._room < 0:
            if 2 * len(text) > size:
                return False
            self._of.clear()
            self._room, text = _ROOM, b"\n".join(forms)
        found: dict[bytes, tuple[int, ...]] = dict.fromkeys(text.split(b"\n"), ())
        for number, word in enumerate(self._bare):
            for form in _lines_with(text, word):
                found[form] += (number,)
        self._of |= found
        return True


def _everywhere(text: bytes, words: Sequence[bytes]) -> list[tuple[int, int]]:
    """The same of any text."""
    found = []
    for number, word in enumerate(words):
        place = text.find(word)
        while place >= 0:
            found.append((place, number))
            place = text.find(word, place + 1)
    found.sort()
    return found


def _lines_with(text: bytes, word: bytes) -> Iterator[bytes]:
    """The lines of a text that have a word."""
    place = text.find(word)
    while place >= 0:
        end = text.find(b"\n", place)
        end = len(text) if end < 0 else end
        yield text[text.rfind(b"\n", 0, place) + 1 : end]
        place = text.find(word, end + 1)
