"""Messages that each process words alike but for what it measured: one failure of several processes."""

import re

# Times, counters, amounts of memory, addresses, and the names of a process and its device.
_MEASURED = re.compile(
    r"\b[EWIF]?\d{4} \d\d:\d\d:\d\d[.\d]*|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*Z?|\b\d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"|0x[0-9a-fA-F]+|(?i:\b(?:rank|pid|process|gpu|cuda|hip|device|worker|tid))[ :=#]{0,2}\d+"
    r"|\b(?i:seq(?:uence)?_?(?:num(?:ber)?|id)?|pg (?:gu)?id)[ =:]\s?\d+(?:\(\w+\))?"
    r"|\b\d+(?:\.\d+)? ?(?:(?:milli|micro|nano)?sec(?:ond)?s?|ms|us|ns|s|min(?:ute)?s?)\b"
    r"|\b\d+(?:\.\d+)? ?(?:[KMGT]i?B|bytes)\b"
)
_RANK = re.compile(r"(?i:\brank)[ :=#]{0,2}\d+")
_DEVICE = re.compile(r"(?i:\bgpu|\bcuda|\bprocess|\bpid)[ :=#]{0,2}\d+")


def unmeasured(message: str) -> str:
    """A message without what a process measured, and without its own name."""
    return _MEASURED.sub("#", message)


def process_of(message: str, writers: tuple[str, ...]) -> str:
    """Which process a message is of: the rank that it names, else who wrote it, else its device; empty where none tells."""
    rank, written = _RANK.search(message), " ".join(writers)
    found = rank or (None if written.strip() else _DEVICE.search(message))
    return found[0].lower() if found else written.strip()
