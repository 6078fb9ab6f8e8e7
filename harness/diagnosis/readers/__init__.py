"""Readers: what a failure of one kind means, from the groups of its pattern and the facts of its text."""

from collections.abc import Callable

from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.device.faults import read_device
from harness.diagnosis.readers.entry import read_entry, read_signature
from harness.diagnosis.readers.guards.constraint import read_constraint
from harness.diagnosis.readers.guards.on_data import read_on_data
from harness.diagnosis.readers.guards.recompile import read_recompile
from harness.diagnosis.readers.layout import read_layout
from harness.diagnosis.readers.meeting.checked import read_checked
from harness.diagnosis.readers.ops.alias import read_alias
from harness.diagnosis.readers.product import read_product
from harness.diagnosis.readers.reshape import read_reshape
from harness.diagnosis.readers.rows import read_rows
from harness.diagnosis.readers.sizes import read_sizes
from harness.diagnosis.readers.views.eager import read_view
from harness.diagnosis.readers.weights.blocks import read_refused
from harness.diagnosis.surroundings import Surroundings

Reader = Callable[[Facts, Surroundings], Reading]
# By the `reader` of a kind in data/failures.toml.
READERS: dict[str, Reader] = {
    "": read_entry,
    "signature": read_signature,
    "alias": read_alias,
    "on-data": read_on_data,
    "layout": read_layout,
    "sizes": read_sizes,
    "checked": read_checked,
    "product": read_product,
    "reshape": read_reshape,
    "view": read_view,
    "rows": read_rows,
    "constraint": read_constraint,
    "recompile": read_recompile,
    "refused": read_refused,
    "device": read_device,
}
