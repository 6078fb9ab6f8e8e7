"""The journal: what a worker was about to try, on disk, so that the one that replaces it after a crash leaves it out."""

import json
from pathlib import Path


def journal_file(folder: str, op: str) -> Path:
    """Where the journal of an op lies, by the name that the user gave it."""
    return Path(folder, op.replace(":", ".") + ".jsonl")


class Journal:
    """Tries of one op by number: begun, and how each ended. A try that began and never ended took the process down."""

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
        """A try begins."""
        self._write({"try": key, "label": label})

    def end(self, key: str, refused: str | None) -> None:
        """It ended: accepted (None), or refused with these words."""
        self._write({"try": key, "refused": refused})

    def _write(self, entry: dict[str, str | None]) -> None:
        self._note(entry)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    @property
    def last_crash(self) -> str:
        """The label of the last try that took its process down; empty where none did."""
        return next((label for key, label in reversed(self.begun.items()) if self.crashed(key)), "")

    def crashed(self, key: str) -> bool:
        """Whether this try took its process down."""
        return key in self.begun and key not in self.ended
