"""``harness audit PACKAGE [OP...]``: fetch a package, import what registers ops, and find the ops that the words name."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.base.errors import BadInput, nearest
from harness.output.terminal import StatusLine
from harness.workers.pool import Pool
from harness.workers.process import Job

if TYPE_CHECKING:
    from harness.engines.packages.package import Package

_SHOWN = 5
# A name of C++ in one of torch's namespaces, as the linker writes it.
# Libraries of a torch with CUDA, and of CUDA itself.
_CUDA = re.compile(r"\b(libc10_cuda|libtorch_cuda|libcud\w+|libnv\w+|libcublas\w*)\.so\S*: cannot open shared object")
_SYMBOL = re.compile(r"undefined symbol: (_Z\w*?(?:3c10|5torch|2at)\w*)")


@dataclass(frozen=True, slots=True)
class Discovered:
    """The ops that modules register, and what each module raised that cannot be imported.

    ``undefined`` names have a kernel and no schema; ``definers`` is the module that defines an op, where that was seen.
    """

    ops: tuple[str, ...]
    failed: dict[str, str]
    undefined: tuple[str, ...] = ()
    definers: dict[str, str] = field(default_factory=dict)

    def of_others(self, own: "Package") -> set[str]:
        """The ops that another package defines, which this one imports."""
        tops = {name.partition(".")[0] for name in (*own.modules, *own.more)}
        return {op for op, module in self.definers.items() if module.partition(".")[0] not in tops}


@dataclass(frozen=True, slots=True)
class PackagedOps:
    """The ops of a package that the words name. ``title`` is NAME==VERSION; ``modules`` and ``path`` bring them in."""

    title: str
    ops: tuple[str, ...]
    modules: tuple[str, ...]
    path: tuple[str, ...]


def named(words: Sequence[str]) -> tuple[str, str] | None:
    """The (name, release or empty) of the package that the first word names; None where it is an op."""
    from harness.engines.packages import package

    return package.named(words[0]) if words else None


def found(name: tuple[str, str], chosen: argparse.Namespace, path: tuple[str, ...]) -> PackagedOps:
    """Fetch the package unless it is installed, and import it. Raises BadInput if that fails or it registers no op."""
    from harness.engines.packages.package import package

    with StatusLine() as report:
        own = package(*name, report)
    path = tuple(dict.fromkeys((*own.path, *path)))
    modules = tuple(dict.fromkeys((*own.modules, *chosen.modules)))
    every = _imported(own, modules, path)
    others = every.of_others(own)
    ops = _chosen(chosen.ops[1:], every.ops, own.title) if len(chosen.ops) > 1 else _own(every, others, own.title)
    _tell(own.title, every, others, len(ops))
    return PackagedOps(own.title, ops, (*modules, *own.more), path)


def _own(every: Discovered, others: set[str], title: str) -> tuple[str, ...]:
    """The ops without those of other packages. Raises BadInput where there is none."""
    ops = tuple(op for op in every.ops if op not in others)
    if not ops:
        raise BadInput(
            f"{title} registers no op of its own; what it imports registers {', '.join(sorted(others)[:3])}, "
            f"which `harness audit {title} {min(others)}` audits"
        )
    return ops


def _tell(title: str, every: Discovered, others: set[str], audited: int) -> None:
    """Lines about what is audited, and what is left out."""
    lines = [f"{title} registers {len(every.ops) - len(others)} ops; {audited} are audited"]
    lines += [f"{name} has a kernel and no schema, so that there is no such op" for name in every.undefined]
    spaces = sorted({op.partition("::")[0] for op in others})
    lines += [f"{len(others)} ops of what it imports are audited only by name: {', '.join(spaces)}"] if others else []
    for line in lines:
        print(f"harness: {line}", file=sys.stderr)


def _imported(own: "Package", modules: tuple[str, ...], path: tuple[str, ...]) -> Discovered:
    """Import a package and its modules that register ops; those that cannot be imported are named in lines of their own."""
    every = discovered((), path, (*modules, *own.more), own.title)
    failed = [one for one in modules if one in every.failed]
    if len(failed) == len(modules) and not every.ops:
        raise BadInput(f"{own.title} cannot be imported here: {_why(every.failed[failed[0]], own)}")
    lines = [f"{name} is not imported: {text}" for name, text in every.failed.items()]
    shown = lines[:_SHOWN] + ([f"{len(lines) - _SHOWN} more modules are not imported"] if len(lines) > _SHOWN else [])
    for line in shown:
        print(f"harness: {line}", file=sys.stderr)
    if not every.ops:
        lacks = f" ({len(lines)} of its modules cannot be imported)" if lines else ""
        raise BadInput(
            f"{own.title} registers no op in torch's dispatcher when it is imported{lacks}: nothing to audit"
        )
    return every


def _why(failure: str, own: "Package") -> str:
    """What an import raised, and where torch may be the reason which one the package was made for."""
    lacking = _SYMBOL.search(failure)
    if lacking:
        return f"its compiled library is built for another torch than {_torch()}: that lacks the symbol {lacking[1]}"
    absent = _CUDA.search(failure)
    if absent:
        return f"its compiled library is built for a torch with CUDA: it needs {absent[1]}.so, which torch {_torch()} lacks"
    return failure + (f"; it asks for {own.torch}, and this is torch {_torch()}" if own.torch else "")


def _torch() -> str:
    from importlib.metadata import version

    return version("torch")


def _chosen(words: Sequence[str], ops: tuple[str, ...], title: str) -> tuple[str, ...]:
    """The ops that the words name, or their patterns match; all without words. Raises BadInput."""
    wanted = [word.removeprefix("torch.ops.") for word in words]
    for word in wanted:
        if not _matching(word, ops):
            near = nearest(word, list(ops))
            hint = (
                f"; did you mean {' or '.join(near)}?" if near else f"; it registers {ops[0]} and {len(ops) - 1} more"
            )
            raise BadInput(f"{title} registers no op {word}{hint}")
    matching = {op for word in wanted for op in _matching(word, ops)}
    return tuple(op for op in ops if op in matching) if wanted else ops


def _matching(word: str, ops: Sequence[str]) -> list[str]:
    return [op for op in ops if fnmatchcase(op, word) or fnmatchcase(op.partition("::")[2], word)]


def discovered(
    modules: Sequence[str], path: Sequence[str], optional: Sequence[str] = (), title: str = ""
) -> Discovered:
    """The ops that modules register, asked in a process of its own. Raises BadInput; with ``title`` not where there are none."""
    names = title or ", ".join((*modules, *optional))
    if not names:
        raise BadInput(
            "no op is named; give NAMESPACE::NAME, or --import MODULE to audit every op that the module registers"
        )
    job = Job("harness.audit.worker:discover", {"modules": modules, "path": path, "optional": optional})
    (reply,) = list(Pool(job, [[0]], 1))
    if reply.answer is None:
        raise BadInput(f"importing {names} ended the process ({reply.died})")
    if reply.answer["ops"] or title:
        answer = reply.answer
        return Discovered(tuple(answer["ops"]), answer["failed"], tuple(answer["undefined"]), answer["definers"])
    raise BadInput(f"importing {names} registers no op in torch's dispatcher; give the names of the ops")
