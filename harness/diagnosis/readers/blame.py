"""What can be said of whose value Inductor's assert is on, where the text names no op."""

from dataclasses import dataclass

from harness.diagnosis.readers.difference import Dim
from harness.diagnosis.widths import read_pair


@dataclass(frozen=True, slots=True)
class Blame:
    """What can be said of whose value it is, where no op is named."""

    stage: str
    cause: str
    against: tuple[str, ...]
    look: str


def of_result(value: str) -> Blame:
    """The assert names a buffer, which is a result inside the graph."""
    return Blame(
        stage=f"{value}, a result inside the compiled graph; the text does not say of which op",
        cause=f"{value} is what an op or a kernel gave inside the graph: its fake says another layout than it gives, or "
        "Inductor chose one for it that the kernel does not keep.",
        against=("an input of the graph: those are named arg7_1 or primals_3",),
        look=f"the line that makes {value} in the generated file that the text names; then that op's fake",
    )


def of_nobody(listed: list[Dim]) -> Blame:
    """Neither an op line nor a value's name; where several sizes differ, another model's tensor is likely."""
    sized = [dim for dim in listed if dim.real != dim.said]
    pairs = [read_pair(dim.real, dim.said) for dim in sized if dim.real and dim.said]
    other = len({dim.dim for dim in sized}) > 1 and not any(pair.possible for pair in pairs)
    both = (
        f" Several sizes differ ({', '.join(f'{dim.real} for {dim.said}' for dim in sized)}), as in a weight of another model: "
        "perhaps compiled code from a cache that was made for another one."
    )
    return Blame(
        stage="a value in compiled code: the text has neither an op line nor the name of an input",
        cause="Either an op's fake says it wrongly, or an input is laid out otherwise than when it was compiled."
        + (both if other else ""),
        against=("a wrong fake alone: without the line 'Error in op' an input is possible too",),
        look="the line 'Error in op' below it, or the assert above it: arg7_1 or primals_3 is an input, buf12 an op's result",
    )
