"""Sizes that do not fit while data is loaded: a data set, a transform or a collate function, where no layer runs."""

import re

from harness.diagnosis.diagnosis import OTHER, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import pair_of, widths
from harness.diagnosis.widths import read_pair

_LOADER = re.compile(r"torch/utils/data/|torchdata/|torchvision/transforms|transformers/data/")
_WORKER = re.compile(r"in DataLoader worker process")


def of_samples(facts: Facts) -> bool:
    """Whether it happened while data was loaded, and the user's line has no word of a layer with experts."""
    loads = _WORKER.search(facts.whole) or any(_LOADER.search(frame.file.replace("\\", "/")) for frame in facts.frames)
    return bool(loads) and not speaks_for("moe", f"{facts.function} {facts.code}")


def read_samples(facts: Facts) -> Reading:
    """Sizes of samples: any model's widths that they equal are chance."""
    found = pair_of(facts)
    pair = read_pair(found[0], found[1]) if found else None
    sizes = f", {pair.narrow} and {pair.wide}" if pair else ""
    stacked = facts.said("stack expects")
    what = (
        f"Samples of a data set are of different sizes{sizes}, and a batch is stacked of equal ones."
        if stacked
        else f"Sizes do not fit{sizes} while data is loaded: in a data set, a transform or a collate function."
    )
    fits = f", though {pair.rounded()} fits" if pair and pair.possible else ""
    return Reading(
        verdict=OTHER,
        stage="loading of data",
        cause=f"{what} No layer runs there.",
        against=(f"padding of a width: the text stands in the loading of data{fits}",),
        look="the shapes of the samples at those indices; resize, crop or pad them, or a collate_fn that does"
        if stacked
        else "the shapes at the user's line; the same index with num_workers=0",
        widths=widths(pair, padded=False) if pair else (),
        rule="no rule" if pair else "",
        tags=frozenset(("samples",)),
    )
