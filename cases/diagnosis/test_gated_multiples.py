"""A rule that rounds gated and other intermediate sizes to two multiples is told for the one that a model can have."""

import pytest

from fixtures.diagnosing import diagnosis_of
from harness.diagnosis.owners import catalogue, published
from harness.diagnosis.widths import read_pair
from harness.matrix.shapes import Shape

LOAD = """{head}
Traceback (most recent call last):
  File "/srv/heron/load.py", line 31, in load_weights
    param.data[e].copy_(w)
RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1
"""
RULES = catalogue().rules


@pytest.mark.parametrize("shape", published(), ids=lambda shape: shape.name)
@pytest.mark.parametrize("multiple", [64, 128, 256])
def test_a_named_models_width_has_the_rules_that_round_it_so(shape: Shape, multiple: int) -> None:
    width = shape.intermediate + 16
    for one in read_pair(width, -(-width // multiple) * multiple, (shape.name,)).alignments:
        assert one.gated + one.plain == ()
        assert all(RULES[name].intermediate(shape.gated) == one.multiple for name in one.inner)


def test_a_gated_models_width_has_no_rule_for_those_without_a_gate() -> None:
    assert "trtllm" not in read_pair(2880, 2944).rounded()
    assert "128 (intermediate sizes by trtllm-nvfp4, " in read_pair(1856, 1920).rounded()


def test_where_the_model_is_not_known_both_are_told_as_what_they_are() -> None:
    told = read_pair(1000, 1024)
    assert "64 (gated intermediate sizes by trtllm-nvfp4)" in told.rounded()
    assert "intermediate sizes without a gate by trtllm-nvfp4)" in told.rounded()
    assert told.rules.count("trtllm-nvfp4") == 3


@pytest.mark.parametrize(
    ("head", "gated", "plain"),
    [
        ("glm-4.5-air", "64 (intermediate sizes by trtllm-nvfp4)", "intermediate sizes by marlin-nvfp4)"),
        ("nemotron-3-ultra-550b-a55b", "or to 64, ", "intermediate sizes by trtllm-nvfp4, marlin-nvfp4)"),
        (
            "no model",
            "64 (gated intermediate sizes by trtllm-nvfp4)",
            "intermediate sizes without a gate by trtllm-nvfp4)",
        ),
    ],
)
def test_the_model_that_the_text_names_decides(head: str, gated: str, plain: str) -> None:
    rule = diagnosis_of(LOAD.format(head=head, a=1024, b=1000)).rule
    assert gated in rule
    assert plain in rule


def test_a_share_of_the_named_model_is_no_hidden_size() -> None:
    share = read_pair(352, 384, ("glm-4.5-air",)).rounded()
    assert "128 (intermediate sizes by cutlass-nvfp4, marlin-nvfp4)" in share
