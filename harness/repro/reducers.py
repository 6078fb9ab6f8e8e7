"""The ops by which a layer sums over the ranks."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.matrix.case import Case
from harness.ops.collectives import is_reduction
from harness.ops.names import op_name
from harness.subjects.declared import declared
from harness.subjects.subject import Subject


def reducers(subject: Subject, case: Case, ranks: int, device: torch.device) -> tuple[str, ...]:
    """Those that the layers of so many ranks call, and those that the subject declares, ``namespace::name`` each."""
    seen = _Reducers()
    for rank in range(ranks):
        with suppress(Exception):  # the harness saw it raise, and so will the script
            of_rank = replace(case, tp=ranks, rank=rank)
            layer = subject.build(of_rank, device)
            with torch.no_grad(), seen:
                layer(*subject.inputs(of_rank, case.tokens, 0, device))
    return tuple(dict.fromkeys((*seen.names, *declared(subject, case).reduces_by)))


class _Reducers(TorchDispatchMode):
    """A dispatch mode that notes the names of reductions over the ranks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_reduction(op_name(func)):
            self.names[op_name(func)] = None
        return func(*args, **(kwargs or {}))
