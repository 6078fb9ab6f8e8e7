"""The history: one SQLite file with the results of every run that was ever added to it.

A result is stored once for each run, so that adding a file twice changes nothing. A run is of one runner and one night.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Self

from harness.base.errors import BadInput

APPLICATION, VERSION = 0x6D6F6570, 1  # what SQLite's header says of a file of ours
MISSING = "missing"
# From the best to the worst: a case with several results has the worst. `missing` is planned, and not judged.
RANKS = (MISSING, "ok", "skipped", "latent", "waived", "findings", "error")
_CACHE_KIB = 96 * 1024
_BUSY = "give a path in a folder that exists, with space left, that no other process writes to"
_FOREIGN = "expected a file that `harness report` wrote, or none yet"
_SCHEMA = """
create table runs (
  id integer primary key, name text unique not null, night integer not null, runner text not null, about text not null);
create table environments (id integer primary key, about text not null);
create table cells (
  id integer primary key, subject text not null, model text not null, mode text not null, backend text not null);
create table cases (id integer primary key, name text not null);
create table details (id integer primary key, about blob not null);
create table results (
  case_id integer not null, run integer not null, cell integer not null, status integer not null, environment integer not null,
  signature integer not null, detail integer not null, seconds real not null,
  primary key (case_id, run)) without rowid;
create table others (
  kind text not null, name text not null, part text not null, run integer not null, status text not null,
  about blob not null, primary key (kind, name, part, run)) without rowid;
"""


class Run(NamedTuple):
    """A run: ``night`` is the ordinal of the day on which the night ends; ``about`` is its `run` record, and its end."""

    id: int
    name: str
    night: int
    runner: str
    about: dict[str, Any]


class Result(NamedTuple):
    """A result of a case in a run. ``status`` is an index of RANKS; the others are ids, 0 for none; seconds."""

    case: int
    run: int
    cell: int
    status: int
    environment: int
    signature: int
    detail: int
    seconds: float


class Other(NamedTuple):
    """A result that is not of the matrix: a row of an audit, a fault of the corpus, a kernel's times."""

    kind: str
    name: str
    part: str
    run: int
    status: str
    about: dict[str, Any]


def number(*parts: str) -> int:
    """A number of 63 bits that stands for these texts: 0 is never one."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return (int.from_bytes(blake2b(text, digest_size=8).digest()) >> 1) or 1


def packed(value: Any) -> bytes:
    """A JSON value as compressed bytes."""
    return zlib.compress(json.dumps(value).encode(), 1)


@dataclass
class History:
    """An open history file."""

    connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Open or create the file. What is added is written when the block ends well. Raises BadInput."""
        connection = None
        try:
            connection = sqlite3.connect(path, isolation_level=None)
            _prepare(connection)
            yield cls(connection)
            connection.execute("commit")
        except sqlite3.Error as error:
            hint = _BUSY if isinstance(error, sqlite3.OperationalError) else _FOREIGN
            raise BadInput(f"--history {path}: {error}; {hint}") from None
        finally:
            if connection is not None:
                connection.close()

    def runs(self) -> dict[int, Run]:
        """Every run, by its number."""
        rows = self.connection.execute("select id, name, night, runner, about from runs order by night, id")
        return {row[0]: _run(row) for row in rows}

    def run(self, name: str) -> Run | None:
        """The run of this name, if it is known."""
        query = "select id, name, night, runner, about from runs where name = ?"
        row = self.connection.execute(query, (name,)).fetchone()
        return _run(row) if row else None

    def set_run(self, name: str, night: int, runner: str, about: dict[str, Any]) -> Run:
        """Add a run, or say more about it."""
        self.connection.execute(
            "insert into runs (name, night, runner, about) values (?, ?, ?, ?) on conflict (name) do update set "
            "night = excluded.night, runner = excluded.runner, about = excluded.about",
            (name, night, runner, json.dumps(about)),
        )
        run = self.run(name)
        assert run is not None
        return run

    def insert(self, table: str, rows: list[tuple[Any, ...]], replace: bool = False) -> None:
        """Add rows to a table. A row that is there already stays, or is replaced."""
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            verb = "replace" if replace else "ignore"
            self.connection.executemany(f"insert or {verb} into {table} values ({marks})", rows)

    def results(self) -> Iterator[Result]:
        """Every result, in the order of the cases."""
        return map(Result._make, self.connection.execute("select * from results order by case_id, run"))

    def runs_of_the_matrix(self) -> set[int]:
        """The numbers of the runs that have results of the matrix, or planned some."""
        return {row[0] for row in self.connection.execute("select distinct run from results")}

    def others(self, kind: str) -> Iterator[Other]:
        """Every other result of this kind, in the order of names."""
        rows = self.connection.execute("select * from others where kind = ? order by name, part, run", (kind,))
        return (Other._make((*row[:5], json.loads(zlib.decompress(row[5])))) for row in rows)

    def detail(self, number: int) -> dict[str, Any]:
        """What a result says beside its status; empty for number 0."""
        row = self.connection.execute("select about from details where id = ?", (number,)).fetchone()
        return json.loads(zlib.decompress(row[0])) if row else {}

    def environments(self) -> dict[int, dict[str, str]]:
        """Every environment that a result was seen in."""
        return {row[0]: json.loads(row[1]) for row in self.connection.execute("select id, about from environments")}

    def case(self, number: int) -> str:
        """A case's name."""
        return str(self.connection.execute("select name from cases where id = ?", (number,)).fetchone()[0])

    def cells(self) -> dict[int, tuple[str, str, str, str]]:
        """Subject, model, mode and backend of every cell."""
        return {
            row[0]: row[1:] for row in self.connection.execute("select id, subject, model, mode, backend from cells")
        }


def _run(row: tuple[Any, ...]) -> Run:
    return Run._make((*row[:4], json.loads(row[4])))


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
    connection.execute("begin immediate")
    application = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    empty = not connection.execute("select count(*) from sqlite_master").fetchone()[0]
    if empty and not application:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"pragma application_id = {APPLICATION}")
        connection.execute(f"pragma user_version = {VERSION}")
    elif application != APPLICATION:
        raise sqlite3.DatabaseError("it is another program's file")
    elif version != VERSION:
        raise sqlite3.DatabaseError(f"it has version {version}, and this harness reads version {VERSION}")
