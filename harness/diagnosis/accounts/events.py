"""How often one failure happened, where a log tells it several times: a process logs an error, and then raises it."""

from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import TRACEBACK, is_exception

Frames = tuple[str, ...]
_MOST = 64  # forms that are told apart


class Events:
    """The tellings of one failure by process and by the frames of its traceback.

    What a caller logs or raises again has the frames of what was logged before, and more above them: both are one event.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, Frames], int] = {}

    def add(self, writer: str, frames: Frames, times: int) -> None:
        """A process told the failure some times more, with these frames."""
        form = writer, frames
        if form not in self._told and len(self._told) >= _MOST:
            form = writer, ()
        self._told[form] = self._told.get(form, 0) + times

    def more(self, times: int) -> None:
        """The failure that was told first happened some times more."""
        first = next(iter(self._told))
        self._told[first] += times

    @property
    def count(self) -> int:
        """How often it happened, in all processes."""
        by_writer: dict[str, dict[Frames, int]] = {}
        for (writer, frames), times in self._told.items():
            by_writer.setdefault(writer, {})[frames] = times
        return sum(map(_events, by_writer.values()))


def _events(told: dict[Frames, int]) -> int:
    """The number of events: tellings whose frames go on above those of others are of the same ones."""
    inner = [frames for frames in told if not any(_goes_on(frames, other) for other in told)]
    return sum(
        max(told[one], _events({frames: told[frames] for frames in told if _goes_on(frames, one)})) for one in inner
    )


def _goes_on(frames: Frames, inner: Frames) -> bool:
    return len(frames) > len(inner) > 0 and frames[-len(inner) :] == inner


def frames_of(failure: Failure) -> Frames:
    """The frames of the traceback that ends in the last exception's line."""
    open_ones: list[str] = []
    found: Frames = ()
    for line in failure.lines:
        text = line.text
        if 'File "' in text and text.lstrip().startswith('File "'):
            open_ones.append(text.strip())
        elif open_ones and text[:1] != " " and is_exception(text):
            found, open_ones = tuple(open_ones), []
        elif TRACEBACK in text:
            open_ones = []
    return found
