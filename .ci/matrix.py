"""The jobs of a workflow, from .ci/runners.toml.

python3 .ci/matrix.py pull-request          the matrix of the pull requests' workflow, as JSON
python3 .ci/matrix.py nightly               that of the nightly one
python3 .ci/matrix.py nightly h100,b200     only these machines
python3 .ci/matrix.py names                 the folder of records that each machine and lane leaves, one a line

Needs the standard library only. Exit code 2: the file, or a name, is wrong.
"""

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("runners.toml")
NIGHTLY = "torchnightly"
KEYS = {"labels", "image", "gpu", "lanes", "shards", "once", "index", "nightly"}


def main(arguments: list[str]) -> int:
    """Print what was asked for."""
    what, only = (*arguments, "", "")[:2]
    try:
        if what not in ("pull-request", "nightly", "names"):
            raise ValueError(f"{what!r} is no matrix; expected pull-request, nightly or names")
        print(text(what, only))
    except (ValueError, KeyError, TypeError) as error:
        print(f"{FILE.name}: {error}", file=sys.stderr)
        return 2
    return 0


def text(what: str, only: str = "") -> str:
    """The lines of ``names``, or the JSON of a matrix. Raises ValueError where a name is unknown."""
    runners = tomllib.loads(FILE.read_text("utf-8"))
    machines = chosen(runners["nightly"], only)
    if what == "names":
        return "\n".join(dict.fromkeys(job["name"] for job in shards(machines)))
    jobs = [*shards(machines), *once(machines)] if what == "nightly" else pull_request(runners)
    return json.dumps({"include": list(jobs)})


def chosen(machines: dict[str, Any], only: str) -> dict[str, Any]:
    """The machines that are named, or all of them; each checked."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(machines)
    unknown = [name for name in names if name not in machines]
    if unknown:
        raise ValueError(f"no machine {', '.join(unknown)}; expected some of {', '.join(machines)}")
    for name in names:
        if machines[name].keys() != KEYS:
            raise ValueError(f"[nightly.{name}] has the keys {', '.join(machines[name])}; expected {', '.join(KEYS)}")
    return {name: machines[name] for name in names}


def pull_request(runners: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A job for each environment of tox."""
    machine = runners["nightly"][runners["pull-request"]["runner"]]
    for environment in runners["pull-request"]["environments"]:
        yield {"environment": environment, "index": machine["index"], **place(machine)}


def shards(machines: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A job for each shard of each lane of each machine. ``name`` is the runner in the records, and their folder."""
    for name, machine in machines.items():
        for lane in machine["lanes"]:
            environment = f"{lane}-{'gpu' if machine['gpu'] else 'night'}"
            index = machine["nightly" if lane == NIGHTLY else "index"]
            for shard in range(1, machine["shards"] + 1):
                yield job(f"{name}-{lane}", environment, shard, machine) | {"index": index}


def once(machines: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A job for each environment that a machine runs whole."""
    for name, machine in machines.items():
        for environment in machine["once"]:
            yield job(f"{name}-{environment}", environment, 0, machine) | {"index": machine["index"]}


def job(name: str, environment: str, shard: int, machine: dict[str, Any]) -> dict[str, Any]:
    """One job. ``arguments`` are what its environment is called with; shard 0 stands for the whole."""
    of = machine["shards"]
    arguments = f"--shard {shard}/{of}" if shard else "-n auto"
    return {
        "name": name,
        "environment": environment,
        "shard": shard,
        "of": of,
        "arguments": arguments,
        **place(machine),
    }


def place(machine: dict[str, Any]) -> dict[str, Any]:
    """Where a job runs, as GitHub takes it; a container that is an empty text is none."""
    options = "--gpus all" if machine["gpu"] else "--init"
    image = {"image": machine["image"], "options": options} if machine["image"] else ""
    return {"labels": machine["labels"], "container": image}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
