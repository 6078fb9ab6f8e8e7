"""Files that a command would write over: one of its own inputs, or another of its outputs."""

import os
from collections.abc import Iterable, Sequence

from harness.base.errors import BadInput

Named = tuple[str, str]
"""(the option, its file)"""


def refuse_clashes(outputs: Sequence[Named], inputs: Iterable[Named] = ()) -> None:
    """Raise BadInput where an output is an input, or where two outputs are one file. Devices such as /dev/null may be both."""
    for place, (option, file) in enumerate(outputs):
        for other, named in (*inputs, *outputs[:place]):
            if _is_same(file, named):
                raise BadInput(f"{option} {file} is also the file of {other}, which would be lost; name another one")


def _is_same(left: str, right: str) -> bool:
    if os.path.exists(left) and not os.path.isfile(left):
        return False
    if os.path.realpath(left) == os.path.realpath(right):
        return True
    return os.path.exists(left) and os.path.exists(right) and os.path.samefile(left, right)
