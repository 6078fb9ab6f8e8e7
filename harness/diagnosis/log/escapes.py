"""A raw line as the lines that were written into it: JSON, HTML, XML, CSV and strings of Python escape them, chats restyle them."""

import html
import re
from functools import lru_cache

from harness.diagnosis.log.objects import object_in, printed

_COLOUR = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|\^\[\[[0-9;]*m|\\u001b\[[0-9;]*m"
)
_CODES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]_][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[@-_]")
# What an office program or a chat puts in place of ASCII, and what it puts between characters.
_RESTYLED = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u00a0\u2007\u2008\u2009\u200a\u202f\u2002\u2003\u3000", " ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", "")
    | dict.fromkeys("\u2028\u2029\u0085", "\n")
    | dict(zip("\uff08\uff09\uff1a\uff0c", "():,", strict=True))
    | {"\u2026": "...", "\u2010": "-", "\u2011": "-", "\u2212": "-"}
)
_ENTITY = re.compile(r"&(?:quot|apos|lt|gt|amp|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_TAGS = r"(?:a|b|br|code|div|em|font|i|li|p|pre|span|strong|table|tbody|td|th|tr|ul)"
_TAG = re.compile(rf"</?{_TAGS}(?:\s[^<>]*)?/?>")
_MARKUP = re.compile(rf"</{_TAGS}>|<br\s*/?>|<(?:pre|td|code)\b")
# The end of an element or attribute of XML that held the text.
_CLOSED = re.compile(
    r'(?:\]\]>|"\s*/?>)?\s*</(?:failure|error|system-err|system-out|testcase|testsuites?)>|\]\]>|"\s*/>\s*$'
)
# The beginning of one in JUnit's XML that holds the exception, its message in an attribute.
_MESSAGE = re.compile(
    r'(?:<[?a-z][^<>]*>\s*)*<(?:failure|error)\b[^<>"]*?\bmessage="([^"]*)"[^<>"]*(?:"[^"<>]*"[^<>"]*)*>'
)
_BREAK = re.compile(r"<br\s*/?>\n?")
# A line's end inside a string: what follows it can start a line of a traceback. A Windows path has none of these.
_ESCAPED_END = re.compile(
    r"\\+n(?= *\\*[\"']? *(?:$|File \\*\"|Traceback \(|Error in op|\^|[\w.]*(?:Error|Exception|Unsupported)\b|  +\S))"
)
# The same as a carrier of single lines writes it: rsyslog, sudo, a workflow command of GitHub, PowerShell.
_CARRIED = {
    "#012": re.compile(r"#(?P<octal>01[125]|033)"),
    "\\012": re.compile(r"\\(?P<octal>01[125]|033)"),
    "%0A": re.compile(r"%(?P<hex>0A|0D|09|25)"),
    "_x000A_": re.compile(r"_x00(?P<hex>0A|0D|09|1B)_"),
}
_LINE_BEGINS = (
    r"(?:[%#\\_]\w*)? *(?:$|File \"|Traceback \(|Error in op|\^|[\w.]*(?:Error|Exception|Unsupported)\b|[E>]? +\S)"
)
_CARRIED_END = re.compile(rf"(?:#012|\\012|%0A|_x000A_){_LINE_BEGINS}")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[ntr\"'\\/])")
_SIMPLE = {"n": "\n", "t": "\t", "r": "", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_MARKED = re.compile(r"\\([_*])")
_DEEPEST = 4
_SHORT = 2000  # what is remembered


def without_colours(raw: str) -> str:
    """The text without terminal codes, of a progress bar only what it shows last."""
    if "\x1b" in raw or "^[[" in raw or "\\u001b" in raw:
        raw = _COLOUR.sub("", raw)
    raw = raw.rstrip("\r\n")
    return raw.rpartition("\r")[2] if "\r" in raw else raw


def chunk_without_codes(chunk: bytes) -> bytes:
    """Whole lines of a log without terminal codes, all of them at once."""
    return _CODES.sub(b"", chunk) if b"\x1b" in chunk else chunk


def may_have_escapes(text: str) -> bool:
    """Whether a line has a character of an escape, or any that is not ASCII."""
    if "\\" in text or "{" in text or "<" in text or "&" in text or "]]>" in text or '""' in text or not text.isascii():
        return True
    return "#012" in text or "%0A" in text or "_x000A_" in text  # \\012 has a backslash


def unescaped(text: str, depth: int = 0) -> tuple[str, ...]:
    """The lines that one line of a log holds; the line itself where nothing is escaped in it."""
    plain = _plain(text)
    if depth < _DEEPEST and plain != text:
        return _each(plain, depth)
    return (plain,)


def _each(text: str, depth: int) -> tuple[str, ...]:
    """What the lines of a text hold that itself stood in one; logs have the same again and again."""
    return _remembered(text, depth) if len(text) < _SHORT else _looked_at(text, depth)


def _looked_at(text: str, depth: int) -> tuple[str, ...]:
    if "\n" not in text:
        return unescaped(without_colours(text), depth + 1)
    return tuple(part for line in text.split("\n") for part in _each(line, depth))


_remembered = lru_cache(maxsize=4096)(_looked_at)


def _plain(text: str) -> str:
    """The text with one layer of escapes taken off."""
    if not text.isascii():
        text = text.translate(_RESTYLED)
    if "{" in text and (found := object_in(text)):
        return printed(found)
    text = _without_carriers(text)
    if "\\" in text:
        text = _without_backslashes(text)
    if 'message="' in text:
        text = _MESSAGE.sub(r"\1\n", text)
    if "&" in text and _ENTITY.search(text):
        text = html.unescape(text).replace("\u00a0", " ")
    if "<" in text and _MARKUP.search(text):
        text = _TAG.sub("", _BREAK.sub("\n", text))
    if "/" in text and ">" in text:
        text = _CLOSED.sub("", text)
    return text.replace('""', '"') if 'File ""' in text else text


def _without_carriers(text: str) -> str:
    """The text with the line ends that a carrier of single lines wrote as codes."""
    for mark, codes in _CARRIED.items():
        if mark in text and _CARRIED_END.search(text):
            text = codes.sub(_decoded, text)
    return text


def _decoded(code: re.Match[str]) -> str:
    groups = code.groupdict()
    return chr(int(groups["octal"], 8) if "octal" in groups else int(groups["hex"], 16)).replace("\r", "")


def _without_backslashes(text: str) -> str:
    if _ESCAPED_END.search(text) or ('File \\"' in text and "\\n" in text):
        return _ESCAPE.sub(_character, text)
    if 'File \\"' in text:
        return text.replace('\\"', '"')
    return text if ":\\" in text else _MARKED.sub(r"\1", text)


def _character(found: re.Match[str]) -> str:
    code = found[1]
    return _SIMPLE[code] if code in _SIMPLE else chr(int(code[1:], 16))
