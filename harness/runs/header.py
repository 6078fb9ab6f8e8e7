"""The first line of a run: what it planned, which shard of it this is, and where it runs."""

import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from harness.base.errors import BadInput
from harness.base.torch_settings import settings_hash
from harness.findings.finding import FORMAT
from harness.runs import environment as here
from harness.runs.planned import Planned, Task
from harness.runs.shards import Shard

# Of weights and inputs. A subject may take others from it.
SEED = 0
# The tool of a run that pytest made.
PYTEST = "pytest"
_TEXTS = ("run", "batch", "tool", "command", "started", "durations", "runner", "machine", "commit", "settings")


def now() -> str:
    """The time in UTC, to the millisecond."""
    return stamp(datetime.now(UTC).timestamp())


def stamp(seconds: float) -> str:
    """Seconds since 1970 as text: ``2026-11-27T01:50:00.000Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """The ``run`` record (docs/reference/records.md). ``durations`` is the hash of what the shards were planned by."""

    run: str
    batch: str
    tool: str
    command: str
    started: str
    shard: Shard
    planned: Planned
    durations: str
    runner: str
    machine: str
    commit: str
    settings: str
    environment: dict[str, str]
    seed: int = SEED

    @classmethod
    def new(cls, tool: str, planned: Planned, shard: Shard, runner: str = "", durations: str = "") -> Self:
        """The header of a run that begins now, on this machine."""
        return cls(
            run=str(uuid.uuid4()),
            batch=here.batch(),
            tool=tool,
            command=here.command_line(),
            started=now(),
            shard=shard,
            planned=planned,
            durations=durations,
            runner=here.runner(runner),
            machine=here.machine(),
            commit=here.commit(),
            settings=settings_hash(),
            environment=here.environment(),
        )

    @property
    def title(self) -> str:
        """What ran, for a reader: ``harness check``, or ``pytest``."""
        return self.tool if self.tool == PYTEST else f"harness {self.tool}"

    @property
    def tasks(self) -> frozenset[Task]:
        """What this shard judges."""
        return self.planned.of(self.shard.index)

    def to_json(self) -> dict[str, Any]:
        """The record; ``from_json`` is its inverse."""
        fields = {name: getattr(self, name) for name in (*_TEXTS, "environment", "seed")}
        own = {"shard": asdict(self.shard), "planned": self.planned.to_json()}
        return {"record": "run", "format": FORMAT} | fields | own

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The header in a record. Raises BadInput where it is of another form or of a later format."""
        if data.get("format") != FORMAT:
            raise BadInput(f"a run record of format {data.get('format')!r:.20}; this harness reads {FORMAT} and before")
        shard, environment = data.get("shard"), data.get("environment")
        if not isinstance(shard, dict) or not isinstance(environment, dict):
            raise BadInput('a run record without "shard" or "environment" (docs/reference/records.md)')
        return cls(
            **{name: str(data.get(name, "")) for name in _TEXTS},
            shard=Shard(_whole(shard.get("index")), _whole(shard.get("of"))),
            planned=Planned.from_json(data.get("planned")),
            environment={str(name): str(value) for name, value in environment.items()},
            seed=_whole(data.get("seed")),
        )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
