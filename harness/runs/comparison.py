"""Two runs compared: what is new, fixed, changed, gone, no longer run and slower, and how their environments differ."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from harness.findings.finding import ERROR, OK, SKIPPED
from harness.runs.gathering import Gathering
from harness.runs.header import RunHeader
from harness.runs.planned import Task
from harness.runs.results import Result

NEW, CHANGED, FIXED, NOT_RUN, GONE, FLAKY, SLOWER = (
    "new",
    "changed",
    "fixed",
    "no longer run",
    "gone",
    "flaky",
    "slower",
)
ABOUT = {
    NEW: "fails now and did not before",
    CHANGED: "fails in another way",
    FIXED: "failed before and is ok",
    NOT_RUN: "was run before; now it was skipped, or its shard died",
    GONE: "was run before; the second run does not have it",
    FLAKY: "one run holds different results of it",
    SLOWER: "takes longer",
}
# What a loaded machine does to the time of a task of a second or less.
_LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The worst result of a task in one run, without the record."""

    status: str
    seconds: float
    signature: frozenset[tuple[str, ...]]
    what: str
    reproduce: str
    flaky: bool = False

    @property
    def failing(self) -> bool:
        """Whether it makes a run red."""
        return bool(self.signature) or self.status == ERROR


@dataclass(slots=True)
class Side:
    """One of the two runs: its results by task, the tasks that it planned, its headers."""

    seen: dict[Task, Seen] = field(default_factory=dict)
    headers: list[RunHeader] = field(default_factory=list)
    stacks: dict[str, set[str]] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, gathering: Gathering) -> "Side":
        """Read a run. Raises BadInput if a file cannot be read."""
        side = cls()
        texts: dict[str, str] = {}  # each once: the case of a verdict is a text of its own in every line
        for result in gathering:
            task = Task(*(texts.setdefault(part, part) for part in result.task))
            side._add(task, result, texts)
        side.headers = [run.header for run in gathering.runs.values() if run.header]
        side.incomplete = [line for night in gathering.nights() for line in night.incomplete()]
        return side

    def _add(self, task: Task, result: Result, texts: dict[str, str]) -> None:
        detail = (result.kinds, str(result.record.get("reproduce", ""))) if result.failing else ("", "")
        one = Seen(texts.setdefault(result.status, result.status), result.seconds, result.signature, *detail)
        known = self.seen.get(task)
        if known is not None and (known.status, known.signature) != (one.status, one.signature):
            worse = one if one.failing else known
            one = Seen(**{**_fields(worse), "flaky": True})
        self.seen[task] = one
        if not result.run:
            self._add_stack(result.record.get("environment"))

    def _add_stack(self, environment: Any) -> None:
        """Note the environment of a verdict of an older format, whose run has no line of its own."""
        for name in ("torch", "device") if isinstance(environment, dict) else ():
            self.stacks.setdefault(name, set()).add(str(environment.get(name, "")))

    @property
    def subjects(self) -> set[str]:
        """The subjects that it judged."""
        return {task.subject for task in self.seen}

    def renamed(self, subject: str) -> "Side":
        """The same run as if its only subject had this name."""
        return replace(self, seen={task._replace(subject=subject): seen for task, seen in self.seen.items()})

    @property
    def facts(self) -> dict[str, str]:
        """The environment by name: of its runs, or where they say none, of its verdicts."""
        values: dict[str, set[str]] = {name: set(known) for name, known in self.stacks.items()}
        for header in self.headers:
            own = {name: str(getattr(header, name)) for name in ("commit", "settings", "seed", "runner")}
            for name, value in {**header.environment, **own}.items():
                values.setdefault(name, set()).add(value)
        return {name: ", ".join(sorted(filter(None, known))) for name, known in values.items()}


def _fields(one: Seen) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Seen.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Change:
    """One task that differs between the runs. ``before`` and ``after`` say what it was and is."""

    kind: str
    task: Task
    before: str
    after: str
    reproduce: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``json.dumps`` takes."""
        own = asdict(self) | self.task._asdict() | {"fingerprint": self.task.fingerprint}
        return {key: value for key, value in own.items() if key != "task"}


def changes(before: Side, after: Side, slower: float) -> Iterator[Change]:
    """What differs, by task. ``slower`` is the factor from which on a task counts as slower."""
    for task in sorted(before.seen.keys() | after.seen.keys()):
        then, today = before.seen.get(task), after.seen.get(task)
        kind = _kind(then, today, slower)
        if not kind and today is not None and today.flaky:
            kind = FLAKY
        if kind == GONE and any(task in header.planned.shards for header in after.headers):
            kind = NOT_RUN
        if kind:
            yield Change(kind, task, _words(then, kind), _words(today, kind), today.reproduce if today else "")


def _kind(then: Seen | None, today: Seen | None, slower: float) -> str:
    if today is None:
        return GONE
    if then is None:
        return NEW if today.failing else ""
    if today.failing:
        return NEW if not then.failing else CHANGED if _differ(then, today) else ""
    if then.status != SKIPPED and today.status == SKIPPED:
        return NOT_RUN
    if then.failing:
        return FIXED
    limit = max(then.seconds * slower, then.seconds + _LEAST_SECONDS)
    return SLOWER if then.status == today.status == OK and today.seconds > limit else ""


def _differ(then: Seen, today: Seen) -> bool:
    return (then.status, then.signature) != (today.status, today.signature)


def _words(seen: Seen | None, kind: str) -> str:
    if seen is None:
        return ""
    if kind == SLOWER:
        return f"{seen.seconds:.1f} s"
    return f"{seen.status}: {seen.what}" if seen.what else seen.status


def environment_changes(before: Side, after: Side) -> dict[str, tuple[str, str]]:
    """What is another value in the second run: name -> (before, after). A name that one side does not know is left out."""
    then, today = before.facts, after.facts
    return {name: (then[name], today[name]) for name in then if name in today and then[name] != today[name]}


def fails(found: list[Change]) -> bool:
    """Whether something fails that did not, or fails in another way."""
    return any(change.kind in (NEW, CHANGED) for change in found)
