"""A dispatcher that rounds a hidden size up to the next of a list is a rule, and a model not known here is no other model."""

import pytest

from fixtures.diagnosing import diagnosis_of
from harness.diagnosis.known.dispatchers import dispatchers
from harness.diagnosis.known.foreign import foreign_in

ADD = """{head}
Traceback (most recent call last):
  File "/srv/heron/moe.py", line 88, in forward
    return {line}
RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1
"""
NAMED = "INFO heron all2all backend deepep_low_latency"
LIST = "the next of 2048, 2560, 3072, 4096"


@pytest.mark.parametrize(("a", "b"), [(3200, 4096), (4608, 5120), (2304, 2560), (3328, 4096)])
def test_the_list_of_a_named_dispatcher_is_the_rule(a: int, b: int) -> None:
    one = diagnosis_of(ADD.format(head=NAMED, line="out = left + right", a=a, b=b))
    assert (one.verdict, one.padded) == ("family", b)
    assert LIST in one.rule
    assert "(deepep-low-latency)" in one.rule
    assert (0, ("deepep-low-latency",)) in one.alignments


def test_a_size_that_is_not_the_next_of_the_list_is_none_of_it() -> None:
    one = diagnosis_of(ADD.format(head=NAMED, line="out = left + right", a=2304, b=4096))
    assert LIST not in one.rule + one.cause


def test_a_list_that_the_log_does_not_name_is_one_reading_of_several() -> None:
    one = diagnosis_of(ADD.format(head="INFO heron", line="out = left + right", a=3328, b=4096))
    assert one.verdict == "undecided"
    assert LIST in one.cause
    one = diagnosis_of(ADD.format(head="INFO heron", line="out = left + right", a=2688, b=2816))
    assert LIST not in one.cause, "a rule of a kernel fits"


def test_the_multiple_of_a_named_dispatcher_is_named_beside_the_rules() -> None:
    one = diagnosis_of(
        ADD.format(head="VLLM_ALL2ALL_BACKEND=deepep_high_throughput", line="out = left + right", a=2880, b=3072)
    )
    assert "deepep-high-throughput" in one.rule


def test_a_list_is_no_rule_of_the_matrix() -> None:
    one = diagnosis_of(ADD.format(head=NAMED, line="out = left + right", a=3328, b=4096))
    assert not any("deepep" in command for command in one.tries)


def test_every_list_rises_and_rounds_its_own_sizes_to_themselves() -> None:
    for one in dispatchers():
        assert list(one.sizes) == sorted(set(one.sizes))
        assert all(one.rounded(size) == size for size in one.sizes)


OTHER = "INFO serving with model='acme/Heron3-64B-A9B-Chat'"


@pytest.mark.parametrize(("a", "b"), [(2688, 2816), (2880, 3072), (3584, 4096)])
def test_another_model_does_not_stand_for_one_that_is_not_known_here(a: int, b: int) -> None:
    known = diagnosis_of(ADD.format(head="INFO serving", line="routed + shared", a=a, b=b))
    other = diagnosis_of(ADD.format(head=OTHER, line="routed + shared", a=a, b=b))
    assert any(width.models for width in known.widths)
    assert not any(width.models for width in other.widths)
    assert f"--hidden {a}" in other.tries[0]
    assert "synthetic" in other.tries[0]
    assert other.verdict != "other"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("--model acme/heron3-moe", "acme/heron3-moe"),
        ("i run acme/heron-64b-a9b on two cards", "heron-64b-a9b"),
        ("vllm serve acme/heron-2", "acme/heron-2"),
        ("model='nvidia/nvidia-nemotron-3-nano-30b-a3b-nvfp4'", ""),
        ("--model openai/gpt-oss-20b", ""),
        ("--model zai-org/glm-4.5", ""),
        ("--model-path /models/heron-2", ""),
        ("--model models/run-7", ""),
        ('file "/srv/acme/heron-2/model.py"', ""),
    ],
)
def test_a_model_is_named_by_a_setting_or_its_numbers_of_parameters(text: str, name: str) -> None:
    assert foreign_in(text.encode()) == name
