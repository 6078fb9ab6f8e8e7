"""``harness check --on HOST,HOST``: the shards of a run on other machines, through execnet, gathered here."""

import argparse
import importlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput
from harness.base.printable import printable
from harness.commands.recorded import host_end
from harness.runs.durations import Durations
from harness.runs.reading import parsed

# Options of the run as a whole, which a shard must not get.
_OWN = {"help", "on", "json", "output", "resume", "shard", "durations", "verbose"}
_END = "harness: the channel is closed"


def hosts(text: str) -> tuple[str, ...]:
    """The type of ``--on``: execnet's specs, ``ssh=host1,ssh=host2`` or ``popen//python=/path/to/python``."""
    specs = tuple(part.strip() for part in text.split(",") if part.strip())
    for spec in specs:
        if not spec.startswith(("ssh=", "popen")):
            raise argparse.ArgumentTypeError(
                f"--on {spec!r}: expected ssh=HOST or popen, as in ssh=host1,ssh=host2//python=/opt/venv/bin/python"
            )
    if not specs:
        raise argparse.ArgumentTypeError(f"--on {text!r} names no host")
    return specs


@dataclass(slots=True)
class Host:
    """One host and its shard. ``lost`` says how it went away, ``code`` with which exit code its shard ended."""

    spec: str
    shard: str
    results: int = 0
    code: int | None = None
    errors: str = ""
    lost: str = ""

    @property
    def problem(self) -> str:
        """Why its shard is not whole; empty where it ended by itself."""
        if self.code in (0, 1):
            return ""
        last = [line for line in self.errors.strip().splitlines() if line][-1:]
        end = self.lost or f"exit code {self.code}"
        return printable(": ".join([f"shard {self.shard} on {self.spec}: {end} after {self.results} results", *last]))


@dataclass(slots=True)
class Hosts:
    """Runs one shard a host. Iterating gives the lines of all records as they come; ``hosts`` then says how each ended."""

    specs: Sequence[str]
    arguments: Sequence[str]
    durations: Durations
    hosts: list[Host] = field(default_factory=list)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The lines of the records. Raises BadInput where execnet is missing or no host can be reached."""
        execnet = _execnet()
        group = execnet.Group()
        try:
            channels = self._started(execnet, group)
            if not channels:
                raise BadInput("; ".join(host.problem for host in self.hosts))
            queue = execnet.MultiChannel(list(channels)).make_receive_queue(endmarker=_END)
            running = set(channels)
            while running:
                channel, item = queue.get()
                line = self._taken(channels[channel], item)
                if item == _END:
                    running.discard(channel)
                if line is not None:
                    yield line
        finally:
            group.terminate(timeout=2.0)

    def _started(self, execnet: Any, group: Any) -> dict[Any, Host]:
        """A channel to each host that can be reached; the shard of any other is lost."""
        channels = {}
        batch = os.environ.get("HARNESS_BATCH") or uuid.uuid4().hex
        for number, spec in enumerate(self.specs, 1):
            host = Host(spec, f"{number}/{len(self.specs)}")
            self.hosts.append(host)
            try:
                channel = group.makegateway(spec).remote_exec(host_end)
                channel.send(self._order(host, batch))
            except Exception as error:  # execnet raises what its gateway met, of many types
                host.lost = f"cannot be reached ({type(error).__name__}: {str(error)[:200]})"
            else:
                channels[channel] = host
        return channels

    def _order(self, host: Host, batch: str) -> dict[str, Any]:
        return {
            "folder": "" if "chdir=" in host.spec else str(Path.cwd()),
            "arguments": [*self.arguments, "--json", "-", "--shard", host.shard],
            "durations": self.durations.to_json(),
            "environment": {"HARNESS_BATCH": batch, "GITHUB_ACTIONS": ""},
        }

    def _taken(self, host: Host, item: Any) -> dict[str, Any] | None:
        """A line of the host's records; None for the end of its run or its channel, which is noted."""
        if item == _END:
            host.lost = host.lost or ("" if host.code is not None else "went away")
            return None
        if isinstance(item, dict):
            host.code, host.errors = item.get("code"), str(item.get("errors", ""))
            return None
        line = parsed(str(item).encode("utf-8", "surrogatepass"))
        host.results += line is not None and line.get("record") == "verdict"
        return line


def _execnet() -> Any:
    try:
        return importlib.import_module("execnet")
    except ImportError:
        raise BadInput("--on needs execnet, which is not installed: pip install execnet") from None


def forwarded(command: str, parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> list[str]:
    """The words of a command line that give a host the same options, but for those of the run as a whole."""
    words = [command]
    for action in parser._actions:
        value = getattr(chosen, action.dest, None)
        if action.dest in _OWN or value == action.default or not action.option_strings:
            continue
        words.append(action.option_strings[-1])
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return words
