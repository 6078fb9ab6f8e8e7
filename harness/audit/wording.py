"""Words for the variants of a sample."""

from collections.abc import Iterable

_UNCHANGED = "as given"


def variant_name(label: str, quoted: bool = False) -> str:
    """A variant in a sentence: ``one row``, ``quoted`` as a name, or ``the sample itself`` where nothing was changed."""
    if not label.startswith(_UNCHANGED):
        return repr(label) if quoted else label
    return f"{label.removeprefix(_UNCHANGED).lstrip(', ') or 'the sample'} itself"


def on_variants(labels: Iterable[str]) -> str:
    """Where something was seen: ``on the sample itself, 'sliced' and 'one row'``."""
    names = [variant_name(label, quoted=True) for label in dict.fromkeys(labels)]
    return f"on {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}"
