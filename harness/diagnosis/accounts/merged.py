"""One answer for what is one failure: told twice, by several processes, or with other rows."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.diagnosis.accounts.processes import process_of, unmeasured
from harness.diagnosis.accounts.same import joined, same
from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.log.again.told import bare, repeats


class _Account:
    """The answers of one failure, and what each process said of it."""

    def __init__(self, first: Diagnosis, copy: bool) -> None:
        self.answer, self.copy = first, copy
        self._said = {process_of(first.what, first.writers): bare(first.what)}

    def takes(self, one: Diagnosis, copy: bool) -> bool:
        """Whether an answer is of this failure."""
        return same(self.answer, one, self.copy or copy) or self._measured(one)

    def _measured(self, one: Diagnosis) -> bool:
        """Whether it is what another process says of it with its own times, or the same process once more."""
        process, said = process_of(one.what, one.writers), bare(one.what)
        sized = one.widths or one.op or one.kind != self.answer.kind or one.stage != self.answer.stage
        if not process or sized or one.user_line != self.answer.user_line:
            return False
        if process in self._said:
            return repeats(self._said[process], said)
        return unmeasured(said) in map(unmeasured, self._said.values())

    def add(self, one: Diagnosis, copy: bool) -> None:
        """Take one more answer. A copy names no process of its own."""
        process = process_of(one.what, one.writers)
        first, second = _raised((self.answer, self.copy), (one, copy))
        answer = joined(first, second)
        if self._measured(one):
            answer = self._of_processes(answer, first, second, process)
        self._said.setdefault(process, bare(one.what))
        self.answer, self.copy = answer, self.copy and copy

    def _of_processes(self, answer: Diagnosis, first: Diagnosis, second: Diagnosis, process: str) -> Diagnosis:
        """The answer with one process more, or with none where it said so before."""
        if process in self._said:
            return replace(answer, count=max(first.count, second.count))
        writers = dict.fromkeys((*(first.writers or self._said), *(second.writers or (process,))))
        return replace(answer, count=first.count + second.count, writers=tuple(writers))


def merged(read: Iterable[tuple[Diagnosis, bool]]) -> Iterator[Diagnosis]:
    """One answer for those of one failure, the fuller text's. With each stands whether it is a copy of another process's."""
    found: list[_Account] = []
    for one, copy in read:
        fitting = [account for account in found if account.takes(one, copy)]
        if fitting:
            nearest = (account for account in fitting if repeats(account.answer.what, one.what))
            next(nearest, fitting[0]).add(one, copy)
        else:
            found.append(_Account(one, copy))
    yield from (account.answer for account in found)


def _raised(one: tuple[Diagnosis, bool], other: tuple[Diagnosis, bool]) -> tuple[Diagnosis, Diagnosis]:
    """Two answers of one failure, without the process of the one that is a copy of the other."""
    (first, copy), (second, copy_too) = one, other
    if copy == copy_too:
        return first, second
    return replace(first, writers=() if copy else first.writers), replace(
        second, writers=() if copy_too else second.writers
    )
