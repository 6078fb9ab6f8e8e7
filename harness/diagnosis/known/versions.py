"""Versions that a log names, and whether a release is in a range."""

import re
from collections.abc import Iterable

# What a package is called in logs. The number follows at once, or after "version" and the like.
_NAMES = ("vllm", "sglang", "flashinfer", "torch")
_NAMED = re.compile(
    rb"\b(?:(?P<vllm>vLLM|vllm)|(?P<sglang>sglang|SGLang|SGLANG)|(?P<flashinfer>flashinfer(?:[-_]python)?|FlashInfer)"
    rb"|(?P<torch>torch|PyTorch|pytorch))"
    # A version in so many words may have two numbers; after a bare name, where times and ratios stand too, it has three.
    rb"(?:(?:(?:[ -]?(?:API server|[Vv]ersion|LLM engine|release)){1,2}(?: is)?[ :=]{1,20}|==)v?(?P<said>\d+\.\d+(?:\.\d+)?)"
    rb"|(?:[-@]| {1,24}\(?)v?(?P<bare>\d+\.\d+\.\d+))"
    rb"(?P<more>(?:[-.]?(?:a|b|rc|post|dev|alpha|beta)\.?\d*)*(?:\+[\w.]+)?)(?![\w]|\.\d)"
)
_ENGINE = re.compile(rb"LLM engine \(v(?P<number>\d+\.\d+\.\d+[\w.+]*)\)")
_PART = re.compile(r"(\d+)|(a|alpha|b|beta|rc|post|dev)\.?(\d*)")
_BEFORE = {"dev": -4, "a": -3, "alpha": -3, "b": -2, "beta": -2, "rc": -1, "post": 1}
Key = tuple[tuple[int, ...], tuple[int, int]]


def versions_in(chunk: bytes) -> Iterable[tuple[str, str]]:
    """(package, version) for each one named in a piece of a log."""
    for found in _NAMED.finditer(chunk):
        package = next(name for name in _NAMES if found[name])
        yield package, ((found["said"] or found["bare"]) + found["more"]).decode()
    for found in _ENGINE.finditer(chunk):
        yield "vllm", found["number"].decode()


def key(version: str) -> Key:
    """Sorts versions: the release as numbers without trailing zeros, then what is before or after it."""
    numbers: list[int] = []
    state = (0, 0)
    for number, word, count in _PART.findall(version.partition("+")[0]):
        if number and state == (0, 0):
            numbers.append(int(number))
        elif word:
            state = min(state, (_BEFORE[word], int(count or 0))) if _BEFORE[word] < 0 else (1, int(count or 0))
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers), state


def is_release(version: str) -> bool:
    """Whether this is a release rather than a build from a development branch."""
    return key(version)[1][0] >= 0 and ".dev" not in version and "+g" not in version


def within(version: str, spec: str) -> bool:
    """Whether the version is in a range as pip writes them: '==0.20.1', '>=0.6.8,<=0.6.18'."""
    return all(_fits(key(version), part.strip()) for part in spec.split(","))


def _fits(have: Key, part: str) -> bool:
    found = re.fullmatch(r"(==|>=|<=|<|>)(\S+)", part)
    if found is None:
        raise ValueError(f"{part!r} is no version range like '>=0.6.8'")
    want = key(found[2])
    return {"==": have == want, ">=": have >= want, "<=": have <= want, "<": have < want, ">": have > want}[found[1]]
