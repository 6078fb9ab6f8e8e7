"""What the trials amount to: which faults were killed, by whom, which survive, and which findings are false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.findings.finding import ERROR, FINDINGS, OK, SKIPPED
from harness.selftest.corpus import Correct, Fault
from harness.selftest.tool_names import INDUCTOR, TOOL_NAMES, TOOLS
from harness.selftest.trials import Answer

TOLD, WRONGLY, MISSED, SILENT, FAILED, LEFT_OUT = "told", "told as another", "missed", "not seen", "failed", "skipped"


@dataclass
class Scored:
    """One entry with everything that was run of it.

    ``marks`` says per mode what came of it at the cases that show: TOLD by a right account, WRONGLY by another alone,
    MISSED where it must be seen, SILENT where it need not, FAILED where no verdict came, LEFT_OUT with a reason.
    """

    entry: Fault | Correct
    answers: list[Answer] = field(default_factory=list)

    @property
    def tools(self) -> dict[str, Any]:
        """What torch's tools say, by name; empty if they were not run or the worker died over it."""
        return next((answer.tools for answer in self.answers if answer.tools), {})

    @property
    def tools_died(self) -> list[str]:
        """How the worker ended that ran torch's tools, if it did."""
        return [answer.died for answer in self.answers if answer.trial.mode == TOOLS and answer.died]

    @property
    def shown(self) -> list[Answer]:
        """The answers of the modes at the cases that show the fault; a right variant has none."""
        if isinstance(self.entry, Correct):
            return []
        return [a for a in self._judged() if self.entry.shows(self.entry.cases[a.trial.place])]

    @property
    def quiet(self) -> list[Answer]:
        """The answers of the modes where nothing may be found."""
        told = self.shown
        return [answer for answer in self._judged() if answer not in told]

    def _judged(self) -> list[Answer]:
        return [
            answer
            for answer in self.answers
            if answer.verdict is not None or (answer.died and answer.trial.mode != TOOLS)
        ]

    @property
    def marks(self) -> dict[str, str]:
        """The worst mark of each mode that was run."""
        found: dict[str, list[str]] = {}
        for answer in self.shown:
            found.setdefault(answer.trial.mode, []).append(self._mark(answer))
        order = (FAILED, MISSED, WRONGLY, SILENT, LEFT_OUT, TOLD)
        return {mode: min(marks, key=order.index) for mode, marks in found.items()}

    def _mark(self, answer: Answer) -> str:
        assert isinstance(self.entry, Fault)
        verdict = answer.verdict
        if verdict is None or verdict.status == ERROR:
            return FAILED
        if verdict.status == SKIPPED:
            return LEFT_OUT
        if verdict.status == FINDINGS:
            accounts = {(finding.observer, finding.stage) for finding in verdict.findings}
            return TOLD if accounts & self.entry.accounts else WRONGLY
        return MISSED if answer.trial.mode in self.entry.modes else SILENT

    @property
    def observers(self) -> list[str]:
        """Who reported it, in the order of the findings."""
        return list(dict.fromkeys(f.observer for a in self.shown if a.verdict for f in a.verdict.findings))

    @property
    def killed(self) -> bool:
        """Whether it was seen, and nothing that must be seen of it was missed."""
        return TOLD in self.marks.values() and not self.survived

    @property
    def survived(self) -> list[str]:
        """Why it is not killed, a sentence each."""
        if isinstance(self.entry, Correct):
            return []
        reasons = [reason for answer in self.shown if (reason := self._reason(answer))]
        unseen = sorted(self.entry.must_see - set(self.observers))
        complete = set(self.entry.modes) <= set(self.marks)  # with --modes less was run than it takes
        if unseen and complete and not reasons:
            reasons.append(f"never reported by {', '.join(unseen)}, which must")
        return reasons

    def _reason(self, answer: Answer) -> str:
        mark, verdict, mode = self._mark(answer), answer.verdict, answer.trial.mode
        if mark == FAILED:
            return f"{mode}: {verdict.reason if verdict else answer.died}"
        if mode not in self.entry.modes:  # chosen on the command line: what it says there is shown, and no promise
            return ""
        if mark == MISSED:
            return f"{mode}: not seen"
        if mark == WRONGLY and verdict is not None:
            told = ", ".join(sorted({f"{f.observer} at {f.stage}" for f in verdict.findings}))
            return f"{mode}: only told by {told}; right is {_accounts(self.entry)}"
        return ""

    @property
    def false_alarms(self) -> list[str]:
        """Findings where nothing is wrong, and those of an observer that must not see the fault."""
        told = [text for answer in self.quiet if (text := _alarm(answer))]
        return told + [text for answer in self.shown for text in self._unwanted(answer)]

    def _unwanted(self, answer: Answer) -> list[str]:
        mode, findings = answer.trial.mode, answer.verdict.findings if answer.verdict else ()
        never = self.entry.must_not_see if isinstance(self.entry, Fault) and mode in self.entry.modes else frozenset()
        return [
            f"{mode}: {found.observer} must not see it: {found.what}" for found in findings if found.observer in never
        ]

    @property
    def blamed(self) -> Answer | None:
        """The first answer that makes this a survivor or a false alarm, if one alone does."""
        for answer in self.shown:
            if self._reason(answer) or self._unwanted(answer):
                return answer
        return next((answer for answer in self.quiet if _alarm(answer)), None)


def _accounts(entry: Fault | Correct) -> str:
    accounts = entry.accounts if isinstance(entry, Fault) else ()
    return " or ".join(sorted(f"{observer} at {stage}" for observer, stage in accounts))


def _alarm(answer: Answer) -> str:
    verdict, mode = answer.verdict, answer.trial.mode
    if verdict is None:
        return f"{mode}: {answer.died}"
    where = f"{mode}, {verdict.case}"
    if verdict.status == ERROR:
        return f"{where}: {verdict.reason}"
    told = "; ".join(f"{f.observer}: {f.kind} at {f.stage}: {f.what}" for f in verdict.findings)
    return f"{where}: {told}" if verdict.status != OK and told else ""


def only_by_one(scored: Sequence[Scored]) -> dict[str, list[str]]:
    """Per observer the faults that it alone sees."""
    found: dict[str, list[str]] = {}
    for one in scored:
        if len(one.observers) == 1:
            found.setdefault(one.observers[0], []).append(one.entry.id)
    return found


def tool_counts(scored: Sequence[Scored]) -> dict[str, int]:
    """How many faults each of torch's tools reports, and all of them together."""
    looked = [one.tools for one in scored if one.tools]
    counts = {name: sum(tools[name]["seen"] for tools in looked) for name in TOOL_NAMES}
    return counts | {
        "all torch tools together": sum(any(tools[name]["seen"] for name in TOOL_NAMES) for tools in looked)
    }


def silent_count(scored: Sequence[Scored]) -> int:
    """How many faults Inductor passes with values that are not the oracle's."""
    return sum(one.tools[INDUCTOR]["silent"] for one in scored if one.tools)
