"""The journal: a file of what a worker is about to try. After a crash, the next worker skips what crashed."""

import json
from pathlib import Path

# The label of the search for arguments that the op takes. Where it ends the process, the arguments may be at fault.
MADE_UP = "arguments made up"


def journal_file(folder: str, op: str) -> Path:
    """The path of an op's journal, from the name that the user gave."""
    return Path(folder, op.replace(":", ".") + ".jsonl")


class Journal:
    """The attempts on one op, and how each ended. An attempt without an end crashed the process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ended: dict[str, str | None] = {}
        self.begun: dict[str, str] = {}
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self._note(entry)

    def _note(self, entry: dict[str, str | None]) -> None:
        key = str(entry["try"])
        if "label" in entry:
            self.begun[key] = str(entry["label"])
        else:
            self.ended[key] = entry["refused"]

    def begin(self, key: str, label: str) -> None:
        """Record that an attempt begins."""
        self._write({"try": key, "label": label})

    def end(self, key: str, refused: str | None) -> None:
        """Record its end: accepted (None), or refused with this error."""
        self._write({"try": key, "refused": refused})

    def _write(self, entry: dict[str, str | None]) -> None:
        self._note(entry)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    @property
    def last_crash(self) -> str:
        """The label of the last attempt that crashed its process; empty if none did."""
        return next((label for key, label in reversed(self.begun.items()) if self.crashed(key)), "")

    def crashed(self, key: str) -> bool:
        """Whether this attempt crashed its process."""
        return key in self.begun and key not in self.ended
