"""The JSON record of one fault or correct variant (docs/reference/records.md)."""

from typing import Any

from harness.selftest.corpus import Fault
from harness.selftest.score import Scored
from harness.selftest.trials import Answer


def record(one: Scored, corpus: str) -> dict[str, Any]:
    """Plain data that ``json.dumps`` takes. ``corpus`` is the module that holds the entry."""
    entry = one.entry
    about: dict[str, Any] = {"id": entry.id, "kind": "fault" if isinstance(entry, Fault) else "correct"}
    if isinstance(entry, Fault):
        about |= {"mechanism": entry.mechanism, "trigger": entry.trigger, "fix": entry.fix}
        about |= {"must_modes": list(entry.modes), "must_see": sorted(entry.must_see)}
        about |= {"must_not_see": sorted(entry.must_not_see), "killed": one.killed, "marks": one.marks}
    else:
        about |= {"mechanism": entry.about}
    seconds = sum(answer.verdict.seconds for answer in one.answers if answer.verdict)
    return about | {
        "corpus": corpus,
        "seconds": round(seconds, 4),
        "observers": one.observers,
        "survived": one.survived,
        "false_alarms": one.false_alarms,
        "tools": one.tools,
        "tools_kept": any(answer.tools_kept for answer in one.answers),
        "trials": [_trial(one, answer) for answer in one.answers if not answer.tools],
    }


def _trial(one: Scored, answer: Answer) -> dict[str, Any]:
    case = one.entry.cases[answer.trial.place]
    record: dict[str, Any] = {"case": case.id, "mode": answer.trial.mode, "shows": answer in one.shown}
    verdict = answer.verdict
    if verdict is None:
        return record | {"status": "died", "reason": answer.died}
    findings = [{"observer": f.observer, "kind": f.kind, "stage": f.stage, "what": f.what} for f in verdict.findings]
    record |= {"status": verdict.status, "reason": verdict.reason, "seconds": verdict.seconds}
    return record | {"findings": findings, "reproduce": verdict.reproduce}
