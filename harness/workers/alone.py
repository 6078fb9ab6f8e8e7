"""A verdict with findings, of a worker that judged others before: a new worker judges the same alone.

A layer may leave something in its module, for all later layers of the process. The verdict would then be about the earlier
ones, and its reproducing command would be green.
"""

import threading
from typing import Any

from harness.findings.finding import FINDINGS
from harness.findings.kinds import OF_VALUES

# Findings that what an earlier verdict left can cause. The others are about shapes, dtypes, fakes and the like.
_LEFT_BEHIND = OF_VALUES | frozenset(
    {
        "uninitialised",
        "raised",
        "op-raised",
        "stale-replay",
        "not-repeatable",
        "output-overwritten",
        "mutated-state",
        "shared-output",
        "freed-memory",
        "input-contents",
        "input-form",
        "input-dtype",
        "torch-mode",
        "other-weights",
        "other-sizes",
        "ranks-differ",
    }
)
_FAMILIES = ("eager", "cudagraph", "varied")  # those that compile take long
# Each takes a new process, which imports torch.
_MOST = 8
_GREEN = (
    " Alone, in a new process, the same case is ok in this mode: verdicts before it in the same process left what makes it "
    "wrong, such as in a cache of a module or of an op. The command that reproduces it runs it alone. Run it with the "
    "modes and cases before it."
)
_MAY_BE = " Verdicts before it in the same process may take part: others were right alone, in a new process."


class Alone:
    """Which answers a new worker is to give once more, and what the two say together. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._agreed: set[object] = set()
        self._left, self._differed = _MOST, False

    def doubts(self, answer: dict[str, Any]) -> bool:
        """Whether a new worker is to judge this verdict once more. Not where one like it was the same alone."""
        with self._lock:
            if not _is_of_values(answer) or _key(answer) in self._agreed or not self._left:
                return False
            self._left -= 1
            return True

    def settle(self, answer: dict[str, Any], again: dict[str, Any] | None) -> dict[str, Any]:
        """The verdict that was reached alone, where it has findings; else the first one, which then says so."""
        if again is None or again.get("status") not in (FINDINGS, "ok"):
            return answer
        with self._lock:
            if _key(again) == _key(answer):
                self._agreed.add(_key(answer))
                return answer
            self._differed = True
        return again if again["status"] == FINDINGS else _with_cause(answer, _GREEN)

    def qualified(self, answer: dict[str, Any]) -> dict[str, Any]:
        """An answer that no new worker gave, with a word of doubt where others were different alone."""
        with self._lock:
            doubtful = self._differed and _is_of_values(answer) and _key(answer) not in self._agreed
        return _with_cause(answer, _MAY_BE) if doubtful else answer


def _is_of_values(answer: dict[str, Any]) -> bool:
    return (
        answer.get("status") == FINDINGS
        and answer["mode"].startswith(_FAMILIES)
        and not answer["mode"].endswith("compiled")
        and any(finding["kind"] in _LEFT_BEHIND for finding in answer["findings"])
    )


def _key(answer: dict[str, Any]) -> object:
    found = frozenset((one["kind"], one["observer"], one["call"]) for one in answer["findings"])
    return answer["mode"], answer["status"], found


def _with_cause(answer: dict[str, Any], text: str) -> dict[str, Any]:
    return answer | {"findings": [one | {"cause": one["cause"] + text} for one in answer["findings"]]}
