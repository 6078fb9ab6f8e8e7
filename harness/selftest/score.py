"""Score the trials: which faults are killed and by which observers, which survive, and which findings are false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.findings.finding import ERROR, FINDINGS, OK, SKIPPED
from harness.selftest.corpus import Correct, Fault
from harness.selftest.tool_names import INDUCTOR, TOOL_NAMES, TOOLS
from harness.selftest.trials import Answer

FOUND, MISREPORTED, MISSED, NOT_FOUND, FAILED, LEFT_OUT = (
    "found",
    "found as another",
    "missed",
    "not found",
    "failed",
    "skipped",
)


@dataclass
class Scored:
    """One entry with the answers of all its trials.

    ``marks`` has for each mode the result at the cases that show the fault. FOUND: an expected account is among the findings.
    MISREPORTED: there are only other findings. MISSED: no finding, but the mode must find it. NOT_FOUND: no finding, and none
    was required. FAILED: no verdict. LEFT_OUT: skipped, with a reason.
    """

    entry: Fault | Correct
    answers: list[Answer] = field(default_factory=list)

    @property
    def tools(self) -> dict[str, Any]:
        """The results of torch's tools by name; empty if they were not run or the worker died."""
        return next((answer.tools for answer in self.answers if answer.tools), {})

    @property
    def tools_died(self) -> list[str]:
        """How the worker that ran torch's tools ended, if it died."""
        return [answer.died for answer in self.answers if answer.trial.mode == TOOLS and answer.died]

    @property
    def shown(self) -> list[Answer]:
        """The modes' answers at the cases that show the fault; empty for a correct variant."""
        if isinstance(self.entry, Correct):
            return []
        return [a for a in self._judged() if self.entry.shows(self.entry.cases[a.trial.place])]

    @property
    def quiet(self) -> list[Answer]:
        """The modes' answers where nothing may be found."""
        shown = self.shown
        return [answer for answer in self._judged() if answer not in shown]

    def _judged(self) -> list[Answer]:
        return [
            answer
            for answer in self.answers
            if answer.verdict is not None or (answer.died and answer.trial.mode != TOOLS)
        ]

    @property
    def marks(self) -> dict[str, str]:
        """The worst mark of each mode that was run."""
        by_mode: dict[str, list[str]] = {}
        for answer in self.shown:
            by_mode.setdefault(answer.trial.mode, []).append(self._mark(answer))
        order = (FAILED, MISSED, MISREPORTED, NOT_FOUND, LEFT_OUT, FOUND)
        return {mode: min(marks, key=order.index) for mode, marks in by_mode.items()}

    def _mark(self, answer: Answer) -> str:
        assert isinstance(self.entry, Fault)
        verdict = answer.verdict
        if verdict is None or verdict.status == ERROR:
            return FAILED
        if verdict.status == SKIPPED:
            return LEFT_OUT
        if verdict.status == FINDINGS:
            accounts = {(finding.observer, finding.stage) for finding in verdict.findings}
            return FOUND if accounts & self.entry.accounts else MISREPORTED
        return MISSED if answer.trial.mode in self.entry.modes else NOT_FOUND

    @property
    def observers(self) -> list[str]:
        """The observers that reported it, in the order of the findings."""
        return list(dict.fromkeys(f.observer for a in self.shown if a.verdict for f in a.verdict.findings))

    @property
    def killed(self) -> bool:
        """Whether it was found, and by everything that must find it."""
        return FOUND in self.marks.values() and not self.survived

    @property
    def survived(self) -> list[str]:
        """The reasons why it is not killed."""
        if isinstance(self.entry, Correct):
            return []
        reasons = [reason for answer in self.shown if (reason := self._reason(answer))]
        missing = sorted(self.entry.must_see - set(self.observers))
        complete = set(self.entry.modes) <= set(self.marks)  # with --modes, not every required mode was run
        if missing and complete and not reasons:
            reasons.append(f"never reported by {', '.join(missing)}, which must report it")
        return reasons

    def _reason(self, answer: Answer) -> str:
        mark, verdict, mode = self._mark(answer), answer.verdict, answer.trial.mode
        if mark == FAILED:
            return f"{mode}: {verdict.reason if verdict else answer.died}"
        if mode not in self.entry.modes:  # a mode chosen on the command line, which need not find the fault
            return ""
        if mark == MISSED:
            return f"{mode}: not found"
        if mark == MISREPORTED and verdict is not None:
            reported = ", ".join(sorted({f"{f.observer} at {f.stage}" for f in verdict.findings}))
            return f"{mode}: only reported by {reported}; expected {_accounts(self.entry)}"
        return ""

    @property
    def false_alarms(self) -> list[str]:
        """Findings where the layer is correct, and findings of an observer that must not report the fault."""
        alarms = [text for answer in self.quiet if (text := _alarm(answer))]
        return alarms + [text for answer in self.shown for text in self._unwanted(answer)]

    def _unwanted(self, answer: Answer) -> list[str]:
        mode, findings = answer.trial.mode, answer.verdict.findings if answer.verdict else ()
        never = self.entry.must_not_see if isinstance(self.entry, Fault) and mode in self.entry.modes else frozenset()
        return [
            f"{mode}: {finding.observer} must not report it: {finding.what}"
            for finding in findings
            if finding.observer in never
        ]

    @property
    def blamed(self) -> Answer | None:
        """The first answer that alone makes this a survivor or a false alarm, if there is one."""
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
    alarms = "; ".join(f"{f.observer}: {f.kind} at {f.stage}: {f.what}" for f in verdict.findings)
    return f"{where}: {alarms}" if verdict.status != OK and alarms else ""


def only_by_one(scored: Sequence[Scored]) -> dict[str, list[str]]:
    """For each observer, the faults that only it finds."""
    by_observer: dict[str, list[str]] = {}
    for one in scored:
        if len(one.observers) == 1:
            by_observer.setdefault(one.observers[0], []).append(one.entry.id)
    return by_observer


def tool_counts(scored: Sequence[Scored]) -> dict[str, int]:
    """How many faults each of torch's tools finds, and all of them together."""
    results = [one.tools for one in scored if one.tools]
    counts = {name: sum(tools[name]["seen"] for tools in results) for name in tools_run(scored)}
    return counts | {
        "all torch tools together": sum(any(tools[name]["seen"] for name in TOOL_NAMES) for tools in results)
    }


def tools_run(scored: Sequence[Scored]) -> list[str]:
    """The tools that have a result for some fault, and all tools where there are no results at all."""
    results = [one.tools for one in scored if one.tools]
    return [name for name in TOOL_NAMES if not results or any(not tools[name]["not_run"] for tools in results)]


def tools_not_run(scored: Sequence[Scored]) -> dict[str, dict[str, int]]:
    """For each tool the reasons why it has no result, and for how many faults."""
    reasons: dict[str, dict[str, int]] = {}
    for one in scored:
        for name, result in one.tools.items():
            if why := result["not_run"]:
                counts = reasons.setdefault(name, {})
                counts[why] = counts.get(why, 0) + 1
    return reasons


def silent_count(scored: Sequence[Scored]) -> int:
    """How many faults Inductor runs without an error, but with values that differ from the oracle's."""
    return sum(one.tools[INDUCTOR]["silent"] for one in scored if one.tools)
