"""Readers: what a failure of one kind means, from the groups of its pattern and the facts of its text."""

from collections.abc import Callable

from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.device import read_device
from harness.diagnosis.readers.entry import read_entry, read_signature
from harness.diagnosis.readers.layout import read_layout
from harness.diagnosis.readers.reshape import read_reshape, read_view
from harness.diagnosis.readers.sizes import read_product, read_sizes
from harness.diagnosis.readers.tokens import read_constraint, read_recompile, read_rows
from harness.diagnosis.surroundings import Surroundings

Reader = Callable[[Facts, Surroundings], Reading]
READERS: dict[str, Reader] = {
    "": read_entry,
    "signature": read_signature,
    "layout": read_layout,
    "sizes": read_sizes,
    "product": read_product,
    "reshape": read_reshape,
    "view": read_view,
    "rows": read_rows,
    "constraint": read_constraint,
    "recompile": read_recompile,
    "device": read_device,
}
