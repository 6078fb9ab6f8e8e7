"""One answer for what is one failure: told twice, by several processes, or with other rows."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from harness.diagnosis.accounts.processes import process_of, unmeasured
from harness.diagnosis.accounts.same import joined, same
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.log.again.told import bare, repeats


class _Told(NamedTuple):
    """An answer, whether it is a copy of another process's, its process, its message, and that without what was measured.

    ``function`` is the one that was compiled again; empty where none was, or the text names none.
    """

    answer: Diagnosis
    copy: bool
    process: str
    said: str
    unmeasured: str
    function: str


class _Account:
    """The answers of one failure, and what each process said of it."""

    def __init__(self, first: _Told) -> None:
        self.answer, self.copy, self._function = first.answer, first.copy, first.function
        self._said = {first.process: first.said}
        self._unmeasured = {first.unmeasured}

    def takes(self, one: _Told) -> bool:
        """Whether an answer is of this failure; two functions that are compiled again are two."""
        if self._function and one.function and self._function != one.function:
            return False
        return same(self.answer, one.answer, self.copy or one.copy) or self._measured(one)

    def _measured(self, one: _Told) -> bool:
        """Whether it is what another process says of it with its own times, or the same process once more."""
        if one.unmeasured not in self._unmeasured or not one.process or not _is_alike(one.answer, self.answer):
            return False
        return one.process not in self._said or repeats(self._said[one.process], one.said)

    def add(self, one: _Told) -> None:
        """Take one more answer. A copy names no process of its own."""
        first, second = _raised((self.answer, self.copy), (one.answer, one.copy))
        answer = joined(first, second)
        if self._measured(one):
            answer = self._of_processes(answer, first, second, one.process)
        self._said.setdefault(one.process, one.said)
        self._unmeasured.add(one.unmeasured)
        self._function = self._function or one.function
        self.answer, self.copy = answer, self.copy and one.copy

    def _of_processes(self, answer: Diagnosis, first: Diagnosis, second: Diagnosis, process: str) -> Diagnosis:
        """The answer with one process more, or with none where it said so before."""
        if process in self._said:
            return replace(answer, count=max(first.count, second.count))
        writers = dict.fromkeys((*(first.writers or self._said), *(second.writers or (process,))))
        return replace(answer, count=first.count + second.count, writers=tuple(writers))


def _is_alike(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether two answers of no sizes say the same of the same line."""
    sized = one.widths or one.op or one.kind != other.kind or one.stage != other.stage
    return not sized and one.user_line == other.user_line


def merged(read: Iterable[tuple[Diagnosis, bool, str]]) -> Iterator[Diagnosis]:
    """One answer for those of one failure, the fuller text's.

    With each stands whether it is a copy of another process's, and the function that its text says was compiled again.
    """
    found: list[_Account] = []
    for answer, copy, named in read:
        said = bare(answer.what)
        function = named if answer.kind == "recompile" else ""
        one = _Told(answer, copy, process_of(answer.what, answer.writers), said, unmeasured(said), function)
        fitting = [account for account in found if account.takes(one)]
        if fitting:
            nearest = (account for account in fitting if repeats(account.answer.what, answer.what))
            next(nearest, fitting[0]).add(one)
        else:
            found.append(_Account(one))
    yield from (account.answer for account in found)


def _raised(one: tuple[Diagnosis, bool], other: tuple[Diagnosis, bool]) -> tuple[Diagnosis, Diagnosis]:
    """Two answers of one failure, without the process of the one that is a copy of the other."""
    (first, copy), (second, copy_too) = one, other
    if copy == copy_too:
        return first, second
    return replace(first, writers=() if copy else first.writers), replace(
        second, writers=() if copy_too else second.writers
    )
