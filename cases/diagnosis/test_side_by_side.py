"""Sizes that are some times a hidden size, and what is some times another: first what the text itself names."""

import pytest

from fixtures.diagnosing import diagnosis_of

PRODUCT = """{before}
Traceback (most recent call last):
  File "/srv/rook/draft.py", line 33, in combine
    return self.fc(states)
RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x{came} and {made}x{out})
"""


@pytest.mark.parametrize(
    ("before", "came", "made", "out", "says"),
    [
        ("", 8640, 6144, 2048, ("8640 = 3 x 2880", "6144 = 3 x 2048 (the other size of the same weight)")),
        ("target glm-4.7", 10240, 8192, 4096, ("10240 = 2 x 5120 (hidden size of glm-4.7)", "8192 = 2 x 4096")),
        ("target nemotron-3-nano-30b-a3b", 8064, 9216, 3072, ("8064 = 3 x 2688", "9216 = 3 x 3072")),
        ("target kimi-k2", 35840, 1000, 512, ("35840 = 5 x 7168 (hidden size of kimi-k2)",)),
    ],
)
def test_hidden_states_side_by_side(before: str, came: int, made: int, out: int, says: tuple[str, ...]) -> None:
    one = diagnosis_of(PRODUCT.format(before=before, came=came, made=made, out=out))
    assert one.verdict == "other"
    assert all(words in one.cause for words in says)
    assert not any("qwen3-coder" in model for width in one.widths for model in width.models)


@pytest.mark.parametrize(
    ("before", "came", "made"),
    [("", 2816, 2688), ("target gpt-oss-20b", 2880, 8192), ("target gpt-oss-20b", 1000, 999)],
)
def test_other_sizes_are_not(before: str, came: int, made: int) -> None:
    assert (
        "side by side (concatenated)"
        not in diagnosis_of(PRODUCT.format(before=before, came=came, made=made, out=640)).cause
    )


COPY = """{before}
Traceback (most recent call last):
  File "/srv/rook/{file}.py", line 33, in put
    self.slots[n].copy_({name})
RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1
"""


@pytest.mark.parametrize(
    ("before", "file", "name", "first"),
    [
        ("", "slots", "w", "two values a byte"),
        ("", "slots", "lora_b", "ranks of adapters"),
        ("adapter r=64", "slots", "lora_b", "ranks of adapters (the text has 64 as one)"),
        ("max_lora_rank=32, adapter r=64", "slots", "lora_b", "ranks of adapters (the text has both as such)"),
        ("tensor_parallel_size=2", "slots", "w", "shards of 2 ranks"),
        ("", "slots", "gate_up", "gate and up as one"),
    ],
)
def test_a_factor_that_the_text_names_comes_first(before: str, file: str, name: str, first: str) -> None:
    one = diagnosis_of(COPY.format(before=before, file=file, name=name, a=32, b=64))
    assert one.rule.partition("perhaps ")[2].startswith(first)


def test_of_two_ranks_that_the_text_has_nothing_else_is_told() -> None:
    one = diagnosis_of(COPY.format(before="max_lora_rank=32, adapter r=64", file="x", name="lora_b", a=32, b=64))
    assert "byte" not in one.rule
