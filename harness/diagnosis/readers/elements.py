"""In words, what a number of elements is to a shape that does not fit it."""

from math import prod

from harness.diagnosis.known.alignments import COMMON, alignments
from harness.diagnosis.readers.weights.multiples import multiple


def nothing(elements: str) -> str:
    """In words, that the tensor is empty; empty where it is not."""
    if elements != "0":
        return ""
    return " The tensor is empty: nothing came there, as where a rank, an expert or a batch has no tokens."


def misfit(want: tuple[str, ...], elements: str) -> str:
    """In words, which size the elements are no multiple of, where a later one is left open (-1) or one is 0; empty elsewhere."""
    if "0" in want and elements != "0":
        return " One of its sizes is 0: a number that the code reads from a configuration, or divides by, is 0 there."
    known = [int(size) for size in want if size.isdigit() and size != "1"]
    if ("-1" not in want[1:] and not ("-1" in want and len(known) > 1)) or not elements.isdigit():
        return ""
    whole = prod(known)
    off = [size for size in known if int(elements) % (whole // size) == 0]
    if int(elements) % whole == 0 or not off:
        return ""
    rows = (
        f" {off[0]} may count rows: the tensor has those of another batch, or of one that was not filled up."
        if str(off[0]) == want[0]
        else ""
    )
    without = " or without ".join(map(str, off))
    return f" {elements} is no multiple of {' x '.join(map(str, known))}, but is one without {without}.{rows}"


def one_off(want: tuple[str, ...], elements: str) -> str:
    """In words, what each size would have to be if it alone were wrong; empty where the shape has a symbol or -1."""
    if not elements.isdigit() or not all(size.isdigit() and int(size) for size in want):
        return ""
    whole = prod(map(int, want))
    fits = [(n, int(size), int(elements) * int(size) / whole) for n, size in enumerate(want)]
    shown = [
        f"{right:.0f} in place of {size} in dimension {n}" for n, size, right in fits if right >= 1 and right % 1 == 0
    ]
    return f" If one size alone is wrong, it is {', or '.join(shown)}." if shown else ""


def factor(want: tuple[str, ...], elements: str) -> str:
    """In words, a whole factor between what is asked for and what is there; empty for any other."""
    if not elements.isdigit() or not int(elements) or not all(size.isdigit() for size in want):
        return ""
    ratio = prod(map(int, want)) / int(elements)
    if not ratio or (ratio % 1 and (1 / ratio) % 1):
        return ""
    return f" The shape has {ratio:g} x as many elements{multiple(round(max(ratio, 1 / ratio)))}."


def tile(want: tuple[str, ...], elements: str) -> str:
    """In words, that a few columns were rounded up to whole tiles, where the last size alone may be wrong; empty elsewhere."""
    if not elements.isdigit() or not all(size.isdigit() and int(size) for size in want):
        return ""
    have, rest = divmod(int(elements), prod(map(int, want[:-1])))
    few, many = sorted((have, int(want[-1])))
    if rest or not 0 < few < COMMON[0] or not alignments(few, many):
        return ""
    columns = f"{few} column{'s' if few > 1 else ''}"
    return (
        f" Or a layer of {columns} was rounded up to {many} for a kernel that computes whole tiles, and not everywhere."
    )
