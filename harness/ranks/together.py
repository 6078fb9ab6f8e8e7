"""One verdict from what the ranks of a team answered: who differs from whom, and where each was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from harness.execution import stages
from harness.findings.finding import ERROR, FINDINGS, OK, SKIPPED, Finding, Verdict
from harness.findings.readers.strided import STRIDED_CAUSE
from harness.matrix.case import Case
from harness.ranks.shares import is_partial, right_for_copies
from harness.ranks.team import STOPPED, Note, RankAnswer, given
from harness.verdict.reproduce import reproduce
from harness.workers.process import NO_ANSWER

# Observers whose findings follow where a collective adds up other values than the layer gave it.
_FOLLOWS = ("values", "second call", "poison", "repeated call", "tokens")


@dataclass(frozen=True, slots=True)
class Together:
    """The answers of a team to one task: a case in a mode of the subject ``spec``."""

    answers: Sequence[RankAnswer]
    case: Case
    mode: str
    spec: str
    device: str

    def verdict(self) -> Verdict:
        """The verdict of all ranks."""
        ranks = {answer.rank: Verdict.from_json(answer.answer["verdict"]) for answer in self.answers if answer.answer}
        if len(ranks) == len(self.answers) and all(one.status in (OK, SKIPPED) for one in ranks.values()):
            return self._with(next((one for one in ranks.values() if one.status == SKIPPED), ranks[0]))
        base = next(iter(ranks.values()), None) or Verdict.of(self.spec, self.case, self.mode, ERROR)
        raised = any(answer.raised for answer in self.answers)
        differs = None if raised and not self._crossed() else self._differs()
        if differs is not None:
            return self._with(replace(base, status=FINDINGS, findings=(differs,), reason="", traceback=""))
        if failed := self._failed(ranks, raised):
            return self._with(replace(base, status=ERROR, findings=(), reason=failed))
        findings = tuple(self._findings(ranks))
        return self._with(replace(base, status=FINDINGS if findings else OK, findings=findings, reason=""))

    def _with(self, verdict: Verdict) -> Verdict:
        size = len(self.answers)
        settings = {"ranks": f"{size} processes, each with its own shard", "collective": self.case.collective}
        command = reproduce(self.case, self.mode, self.spec, self.device)
        seconds = max((answer.answer["verdict"]["seconds"] for answer in self.answers if answer.answer), default=0.0)
        settings = verdict.environment | settings
        return replace(verdict, case=self.case.id, reproduce=command, environment=settings, seconds=seconds)

    def _pairs(self) -> Iterator[tuple[Note | None, ...]]:
        """What each rank gave to its first collective, to its second, and so on; None where it gave nothing."""
        yield from zip_longest(*(answer.collectives for answer in self.answers))

    def _crossed(self) -> bool:
        """Whether two ranks met in collectives that do not fit."""
        return any(_unlike(pair) for pair in self._pairs() if None not in pair)

    def _differs(self) -> Finding | None:
        """The first collective that a rank did not join, or joined with another tensor; None where there is none."""
        for pair in self._pairs():
            if _unlike(pair) and not self._follows_death(pair):
                return self._of_pair(pair)
        return None

    def _follows_death(self, pair: tuple[Note | None, ...]) -> bool:
        """Whether the ranks that are missing died on their way there."""
        missing = [answer for answer, note in zip(self.answers, pair, strict=True) if note is None]
        return any(answer.answer is None and not _waited(answer) for answer in missing)

    def _of_pair(self, pair: tuple[Note | None, ...]) -> Finding:
        there = next(note for note in pair if note is not None)
        words = [f"rank {rank}: {given(note) if note else 'nothing'}" for rank, note in enumerate(pair)]
        missed = [str(rank) for rank, note in enumerate(pair) if note is None]
        what = f"the ranks give different tensors to one {there['collective']}: {'; '.join(words)}"
        cause = (
            "A collective adds up what has the same place in memory on every rank: shape, stride and dtype must agree."
        )
        if missed:
            what = f"rank {' and '.join(missed)} never joined {given(there)}; {'; '.join(self._ends())}"
            cause = "Every rank must reach every collective. Look for a condition of the rank, or of values that ranks do not share."
        return Finding(
            observer="collectives",
            kind="collectives-differ",
            stage=stages.REDUCE,
            what=what,
            cause=cause,
            call=there["call"],
            detail={"ranks": [note or {} for note in pair]},
        )

    def _ends(self) -> list[str]:
        """How and where each rank ended."""
        return [f"rank {answer.rank} {_end(answer)}" for answer in self.answers]

    def _failed(self, ranks: dict[int, Verdict], raised: bool) -> str:
        """Why the harness has no verdict; empty where it has one. A rank that waited for one that raised is no reason."""
        died = [answer for answer in self.answers if answer.answer is None and not (raised and _waited(answer))]
        if died:
            return "; ".join(self._ends())
        errors = [f"rank {rank}: {one.reason}" for rank, one in ranks.items() if one.status == ERROR]
        return "; ".join(errors)

    def _findings(self, ranks: dict[int, Verdict]) -> Iterator[Finding]:
        """Each finding once, with the ranks that have it. That a tensor was strided is one only where it did harm."""
        groups: dict[tuple[str, ...], dict[int, Finding]] = {}
        for rank, one in ranks.items():
            for finding in one.findings:  # of several calls, the first
                groups.setdefault((finding.observer, finding.kind, finding.stage), {}).setdefault(rank, finding)
        strided = [key for key in groups if key[1] == "not-contiguous"]
        harm = [key for key in groups if key[0] in _FOLLOWS]
        if (
            harm and not strided and (views := self._views())
        ):  # compiled code records no op, only the graph's collectives
            groups[next(iter(views.values())).observer, "not-contiguous", stages.REDUCE] = views
            strided = [next(reversed(groups))]
        for key, found in groups.items():
            silent = key in strided and not any(self.answers[rank].raised for rank in found)
            follows = key in harm or (harm and key[1] == "strided-output")
            if (silent and not harm) or (strided and follows):
                continue
            yield self._of_ranks(found, silent)

    def _views(self) -> dict[int, Finding]:
        """For each rank that gave a strided view to a collective, the finding that would be if it did harm."""
        views: dict[int, Finding] = {}
        for answer in self.answers:
            if note := next((note for note in answer.collectives if not _dense(note)), None):
                views[answer.rank] = _strided(note)
        return views

    def _of_ranks(self, found: dict[int, Finding], silent: bool) -> Finding:
        finding, size = next(iter(found.values())), len(self.answers)
        who = "every rank" if len(found) == size else f"rank {' and '.join(map(str, found))} of {size}"
        label = finding.call
        share, mix = self._shares(label, found), self._mix(label, found)
        if silent and (worst := max(self._shares("", found).values(), default=0.0)):
            finding = replace(finding, what=f"{finding.what}; no error, and {worst:.1%} of the values are wrong")
        elif mix and finding.observer in _FOLLOWS:
            finding = _mixed(finding, mix, size)
        waited = [answer for answer in self.answers if answer.answer is None]
        cause = " ".join([finding.cause, *(f"Rank {answer.rank} waited {answer.at}." for answer in waited)])
        detail = finding.detail | {"ranks": list(found)} | ({"wrong": share} if share else {})
        return replace(finding, call=f"{label}, {who}" if label else who, cause=cause, detail=detail)

    def _shares(self, label: str, found: dict[int, Finding]) -> dict[str, float]:
        """The share of wrong values on each rank, in this call; in its worst call without a label."""
        wrong = {answer.rank: answer.answer["wrong"] for answer in self.answers if answer.answer}
        shares = {
            str(rank): max((one["share"] for name, one in wrong[rank].items() if label in ("", name)), default=0.0)
            for rank in found
        }
        return {rank: round(share, 4) for rank, share in shares.items() if share}

    def _mix(self, label: str, found: dict[int, Finding]) -> dict[int, list[float]]:
        calls = {answer.rank: answer.answer["wrong"].get(label, {}) for answer in self.answers if answer.answer}
        return {rank: calls[rank]["mix"] for rank in found if calls[rank].get("mix")}


def _mixed(finding: Finding, mix: dict[int, list[float]], size: int) -> Finding:
    """A finding of values, by how much of which rank's shard is in the output."""
    words = [
        f"on rank {rank} {own:g} x rank 0's shard + {others:g} x the others'" for rank, (own, others) in mix.items()
    ]
    finding = replace(
        finding, what=f"{finding.what}; the output is {', '.join(words)}", detail=finding.detail | {"mix": mix}
    )
    if all(is_partial(factors, rank, size) for rank, factors in mix.items()):
        cause = "The output is the rank's own shard: the sum over the ranks was skipped there, or dropped."
        return replace(finding, kind="not-reduced", stage=stages.REDUCE, cause=cause)
    if all(right_for_copies(factors, size) for factors in mix.values()):
        cause = "It is right where all ranks hold copies: an index, an offset or a condition of the rank picks the wrong shard."
        return replace(finding, kind="ranks-differ", stage=stages.BUILD, cause=cause)
    return finding


def _strided(note: Note) -> Finding:
    """The finding for a collective that a note says was given a strided view."""
    return Finding(
        observer="collectives",
        kind="not-contiguous",
        stage=stages.REDUCE,
        what=f"{note['collective']} was given {note['dtype']}{note['shape']} stride {note['stride']}, a view that is not contiguous",
        cause=STRIDED_CAUSE,
        call=note["call"],
    )


def _dense(note: Note) -> bool:
    """Whether what a collective was given is contiguous."""
    step = 1
    for size, stride in zip(reversed(note["shape"]), reversed(note["stride"]), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _unlike(pair: tuple[Note | None, ...]) -> bool:
    """Whether what the ranks give to one collective does not fit."""
    keys = ("collective", "shape", "stride", "dtype")
    seen: list[Any] = [note and [note[key] for key in keys] for note in pair]
    return any(one != seen[0] for one in seen)


def _waited(answer: RankAnswer) -> bool:
    """Whether a rank was stopped, rather than that it died."""
    return answer.end.startswith((STOPPED, NO_ANSWER))


def _end(answer: RankAnswer) -> str:
    if answer.answer is not None:
        return f"raised {answer.at}" if answer.raised else "finished the case"
    return f"{'waited' if _waited(answer) else f'died ({answer.end})'} {answer.at}"
