"""A load that lists several parameters: what explains one is not said of another."""

import io
import traceback

import pytest
import torch
from torch import nn

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

Shapes = dict[str, tuple[int, ...]]
WORDS: Shapes = {"embed_tokens": (151936, 768), "lm_head": (151936, 768)}
MORE_WORDS: Shapes = {"embed_tokens": (152064, 768), "lm_head": (152064, 768)}
EXPERTS, PADDED = {"experts_w13": (8, 5760, 2688)}, {"experts_w13": (8, 5760, 2816)}
HEADS, MORE_HEADS = {"k_proj": (256, 768)}, {"k_proj": (512, 768)}


class Layer(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device="meta")))


def loaded(checkpoint: Shapes, model: Shapes) -> Diagnosis:
    """The answer to what torch says of a checkpoint that does not fit."""
    state = Layer(checkpoint).state_dict()
    try:
        Layer(model).load_state_dict(state)
    except RuntimeError:
        (one,) = diagnose(io.BytesIO(traceback.format_exc().encode()), "x").failures
        return one
    pytest.fail("nothing was raised")


def test_a_vocabulary_alone_is_one() -> None:
    assert "does not explain" not in loaded(WORDS, MORE_WORDS).cause


def test_a_vocabulary_explains_no_other_parameter() -> None:
    one = loaded(WORDS | HEADS, MORE_WORDS | MORE_HEADS)
    assert "That does not explain k_proj, 256 in the checkpoint and 512 in the model (512 is 2 x 256)" in one.cause
    assert "lm_head" not in one.cause
    assert one.verdict == "other"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("others", "more"), [(WORDS, MORE_WORDS), (HEADS, MORE_HEADS)])
def test_a_padded_width_is_found_whatever_is_listed_before_it(first: bool, others: Shapes, more: Shapes) -> None:
    parts = ((EXPERTS, PADDED), (others, more)) if first else ((others, more), (EXPERTS, PADDED))
    one = loaded(parts[0][0] | parts[1][0], parts[0][1] | parts[1][1])
    assert (one.verdict, one.padded) == ("family", 2816)
    assert one.what.startswith("size mismatch for experts_w13:")
    assert f"does not explain {next(iter(others))}" in one.cause
    assert "So do 151936" not in one.cause


def test_what_holds_of_all_is_said_of_all() -> None:
    one = loaded({"w13": (8, 5760, 2880), "w2": (8, 2880, 2880)}, {"w13": (8, 2880, 2880), "w2": (8, 2880, 1440)})
    assert "So it is with w2, 2880 in the checkpoint and 1440 in the model" in one.cause
    assert "does not explain" not in one.cause


def test_a_long_list_is_shortened() -> None:
    names = "abcde"
    one = loaded(
        WORDS | {name: (32 * n, 8) for n, name in enumerate(names, 1)},
        MORE_WORDS | {name: (64 * n, 8) for n, name in enumerate(names, 1)},
    )
    assert "and 2 more pairs of sizes" in one.cause
