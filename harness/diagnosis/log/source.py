"""Where a log comes from: a file or standard input, read in chunks of whole lines, of any size and of any encoding."""

import codecs
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.base.errors import BadInput

CHUNK = 1 << 18
# A line without an end must not fill the memory; no message of torch comes near.
LONGEST_LINE = 1 << 16
# What a compressed or binary file starts with, and how to make a text of it.
_MAGIC = {
    b"\x1f\x8b": "gzip; try: zcat {} | harness diagnose",
    b"\x28\xb5\x2f\xfd": "zstd; try: zstdcat {} | harness diagnose",
    b"\xfd7zXZ": "xz; try: xzcat {} | harness diagnose",
    b"BZh": "bzip2; try: bzcat {} | harness diagnose",
    b"PK\x03\x04": "a zip archive (a torch checkpoint is one); unpack it and give the log",
    b"\x7fELF": "a program",
    b"%PDF": "a PDF; give the text",
    b"\x89PNG": "a picture; give the text",
    b"\xff\xd8\xff": "a picture; give the text",
}
_HARD_SPACE = "\u00a0".encode()
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# What ``gh run view --log`` puts before each line: the names of a job and a step, then GitHub's own time, at first after a mark
# of the encoding. A name is any text. The time stays: it is known as a prefix.
_STAMP = rb"\t(?:\xef\xbb\xbf)?(?=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z(?:\s|$))"
_STAMPED, _FIELDS = re.compile(_STAMP), re.compile(rb"^[^\t\n]{1,300}\t[^\t\n]{1,300}" + _STAMP, re.M)
# The same where a paste made spaces of the tabs. GitHub's times have seven digits; the names are those that several lines have.
_SPACED = re.compile(
    rb"^(?P<names>[^\n]{1,600}?)[ \t]+(?:\xef\xbb\xbf)?(?=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z(?:\s|$))", re.M
)
_APART, _PASTED = re.compile(rb"[ \t]\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z\s"), 1 << 16
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\x0b\x0c\x08\x07\x1b")) + b"\x7f"


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The log at ``path``, or standard input for ``-``. Raises BadInput where it cannot be read."""
    if path == "-":
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(path).open("rb"))
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}; give a file, or - for standard input") from None
        yield file


def chunks(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The log as UTF-8 in pieces of whole lines, each some 256 KiB. Raises BadInput for an empty or binary one."""
    first = _read(file, name)
    if not first.strip():
        raise BadInput(f"{name} is empty; expected a text that holds a failure: a server log, CI output, a traceback")
    encoding = _encoding(first, name)
    rest = b""
    bare = b"\r" if encoding == "" and b"\n" not in first and first.count(b"\r") > 1 else b""
    for piece in _recoded(_pieces(file, first, name), encoding):
        piece = rest + (piece.replace(bare, b"\n") if bare else piece).replace(_HARD_SPACE, b" ")
        cut = piece.rfind(b"\n") + 1
        if not cut and len(piece) > LONGEST_LINE:
            cut = len(piece)
        if cut:
            yield piece[:cut]
        rest = piece[cut:]
    if rest:
        yield rest


def without_fields(piece: bytes) -> bytes:
    """Whole lines of a log without the names of jobs and steps that are fields, with tabs, before each line's time."""
    if b"Z " not in piece:
        return piece
    if _STAMPED.search(piece):
        return _FIELDS.sub(b"", piece)
    return _without_spaced(piece) if _APART.search(piece, 0, _PASTED) else piece


def _without_spaced(piece: bytes) -> bytes:
    """The same without names that spaces part from the time; each stands on several lines."""
    names = Counter(found["names"] for found in _SPACED.finditer(piece[:_PASTED]))
    known = {name for name, times in names.items() if times > 1}
    return _SPACED.sub(lambda found: b"" if found["names"] in known else found[0], piece) if known else piece


def _read(file: BinaryIO, name: str) -> bytes:
    try:
        return file.read(CHUNK)
    except OSError as error:
        raise BadInput(f"cannot read {name}: {error.strerror}; expected a text file") from None


def _pieces(file: BinaryIO, first: bytes, name: str) -> Iterator[bytes]:
    piece = first
    while piece:
        yield piece
        piece = _read(file, name)


def _recoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if not encoding:
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for piece in pieces:
        yield decoder.decode(piece).encode()


def _encoding(first: bytes, name: str) -> str:
    """The encoding where it is not one that holds ASCII as it is. Raises BadInput for what is no text."""
    head = first[:8192]
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise BadInput(f"{name} is not a text but {what.format(name)}")
    if head[:2] in _UTF16:
        return _UTF16[head[:2]]
    odd, even = head[1::2].count(0), head[::2].count(0)
    if max(odd, even) > 0.4 * len(head) / 2 and min(odd, even) < 0.1 * len(head) / 2:
        return "utf-16-le" if odd > even else "utf-16-be"
    # A log that was cut while it was written to begins with NULs: only what is left of it is looked at.
    text = head.replace(b"\0", b"")
    controls = len(text) - len(text.translate(None, _CONTROLS))
    if controls > 0.05 * len(text) or head.lstrip(b"\0").count(0) > 0.05 * len(head):
        raise BadInput(f"{name} is binary; expected a text that holds a failure, as it was printed")
    return ""
