"""Two sizes that meet in an add, a copy or a kernel's check, and do not fit."""

import re
from dataclasses import replace

from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.readers.attention.attended import attended
from harness.diagnosis.readers.attention.lengths import has_no_width
from harness.diagnosis.readers.attention.positions import of_positions, placed
from harness.diagnosis.readers.latent import read_latent
from harness.diagnosis.readers.meeting.adds import read_state
from harness.diagnosis.readers.meeting.copies import read_copy, read_other_model
from harness.diagnosis.readers.meeting.dimensions import read_dimensions
from harness.diagnosis.readers.meeting.flat import flat_weight
from harness.diagnosis.readers.meeting.met import read_met
from harness.diagnosis.readers.meeting.relations import is_vocabulary
from harness.diagnosis.readers.meeting.routing import of_experts, read_experts
from harness.diagnosis.readers.meeting.scales import read_scaled
from harness.diagnosis.readers.meeting.slices import padded_share, read_share
from harness.diagnosis.readers.meeting.topics import speaks_of
from harness.diagnosis.readers.meeting.unknown import hinted, unknown_sizes
from harness.diagnosis.readers.meeting.unrelated import beyond, in_blocks, unrelated
from harness.diagnosis.readers.pairs import (
    may_be_heads,
    pair_of,
    rows_alone,
    speaks,
    supposed,
    unexplained,
)
from harness.diagnosis.readers.rows import rows
from harness.diagnosis.readers.weights.listed import with_others
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import Pair, blocks_of

_MOST_HEADS, _HEAD_SIZES = 128, (32, 64, 80, 96, 128, 192, 256)
_TARGET = re.compile(r"Target sizes: \[(?P<sizes>[\d, ]+)\]")


def read_sizes(facts: Facts, around: Surroundings) -> Reading:
    """Two tensors that do not broadcast, or a copy between them, and what else a load lists."""
    return with_others(facts, _read(facts, around))


def _read(facts: Facts, around: Surroundings) -> Reading:
    if read := _by_its_shapes(facts):
        return read
    found = pair_of(facts)
    if found is None:
        return unknown_sizes(facts)
    a, b, dim = found
    pair = facts.pair(a, b)
    if read := _by_its_line(facts, pair, dim):
        return read
    if read := read_scaled(facts, around, pair, a, dim):
        return read
    if _of_buffers(facts) or _counts_rows(facts, pair, dim):
        return rows(facts, a, b)
    if _is_attended(facts, dim):
        return attended(facts, around, pair, dim)
    if pair.latent_of and not facts.loads:
        return read_latent(facts, around, pair, a)
    if (blocks := blocks_of(pair)) and speaks_of("scales", facts):
        return in_blocks(pair, *blocks)
    if not pair.padded and not (pair.possible and (speaks(facts) or pair.beside) and not may_be_heads(facts, pair)):
        what = (
            "A checkpoint's tensor and the parameter it is copied to" if facts.loads_weights else "Two sizes that meet"
        )
        return beyond(facts, pair) or unrelated(facts, pair, what, dim)
    read = read_copy(facts, around, pair, a) if facts.loads else read_met(facts, around, pair, a)
    return replace(read, cause=f"{supposed(facts, pair)}{read.cause}")


def _is_attended(facts: Facts, dim: int | None) -> bool:
    """Whether two sizes meet in attention; a copy into a cache is no load of weights."""
    if has_no_width(facts):
        return not facts.loads_weights
    return not facts.loads and (facts.in_attention or (dim or 0) > 2 or _has_heads(facts, dim))


def _has_heads(facts: Facts, dim: int | None) -> bool:
    """Whether the sizes differ in dimension 1 of four, of which the last two are a number of heads and their size."""
    target = _TARGET.search(facts.whole)
    shape = sizes(target["sizes"]) if target else ()
    if dim != 1 or len(shape) != 4 or not all(size.isdigit() for size in shape):
        return False
    return int(shape[2]) <= _MOST_HEADS and int(shape[3]) in _HEAD_SIZES


def _by_its_shapes(facts: Facts) -> Reading | None:
    """The reading of a missing dimension, of a slice of a padded share, or of a weight that is stored flat; None for all others."""
    if read := read_dimensions(facts):
        return read
    share = padded_share(facts)
    return read_share(facts, share) if share else flat_weight(facts)


def _by_its_line(facts: Facts, pair: Pair, dim: int | None) -> Reading | None:
    """The reading of two sizes that the message or the user's line shows to be no widths; None for all others."""
    if not pair.padded and (read := hinted(facts, pair)):
        return read
    if facts.loads and (others := unexplained(facts, pair)):
        return read_other_model(facts, pair, others)
    if facts.in_optimizer and not pair.padded:
        return read_state(pair)
    if is_vocabulary(facts, pair):
        return unrelated(facts, pair)
    if dim != 0 and of_experts(facts, pair):
        return read_experts(facts, pair)
    return placed(facts, pair) if pair.padded and not facts.loads_weights and of_positions(facts, dim) else None


def _counts_rows(facts: Facts, pair: Pair, dim: int | None) -> bool:
    """Whether two sizes of dimension 0 are numbers of rows: no model's width, or the rest of the shapes agrees."""
    return dim == 0 and (not pair.exact_owners or rows_alone(facts)) and not facts.loads_weights


def _of_buffers(facts: Facts) -> bool:
    """Whether two tensors of one dimension meet where a graph's buffers are filled: they hold one value for each token."""
    groups = facts.match.groups
    shapes = [sizes(groups[name]) for name in ("a_shape", "b_shape") if name in groups]
    return [len(shape) for shape in shapes] == [1, 1] and facts.seen("replay")
