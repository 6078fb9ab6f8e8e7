"""Environments: what differs between two, in words that a reader knows."""

from collections.abc import Iterable

LABELS = {
    "gpu": "GPU",
    "capability": "Compute capability",
    "triton": "Triton",
    "flashinfer": "FlashInfer",
    "vllm": "vLLM",
}
# What is written with a small first letter.
_SMALL = ("torch", "transformers", "sglang")
# What a reader looks for first, and the harness' own settings last.
_FIRST = ("commit", "gpu", "capability", "device", "driver", "torch", "triton", "flashinfer", "vllm", "python", "seed")
Difference = tuple[str, str, str]


def label(name: str) -> str:
    """A name as the page shows it."""
    return LABELS.get(name) or (name if name in _SMALL or "." in name else name[:1].upper() + name[1:])


def in_order(names: Iterable[str]) -> list[str]:
    """Names, those that a reader looks for first in front."""
    return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def differences(before: dict[str, str], after: dict[str, str]) -> list[Difference]:
    """``(name, before, after)`` of each value that differs; empty text where there is none."""
    names = in_order(before.keys() | after.keys())
    rows = [(label(name), before.get(name, ""), after.get(name, "")) for name in names]
    return [row for row in rows if row[1] != row[2]]


def names_a_commit(environment: dict[str, str]) -> bool:
    """Whether the code is known: a commit is named, and no file was changed since (``+``, ``dirty``)."""
    commit = environment.get("commit", "")
    return bool(commit) and not commit.endswith("+") and "dirty" not in commit
