"""Of two sizes that are none of this family's, no share or half is told of a model that the text has nothing of."""

import pytest

from fixtures.diagnosing import diagnosis_of

COPY = """{head}
Traceback (most recent call last):
  File "/srv/heron/slots.py", line 40, in put
    {code}
RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1
"""


def models(
    a: int, b: int, head: str = "INFO ready", code: str = "self.rows[slot].copy_(rows)"
) -> list[tuple[str, ...]]:
    one = diagnosis_of(COPY.format(head=head, code=code, a=a, b=b))
    assert one.verdict == "other"
    return [width.models for width in sorted(one.widths, key=lambda width: width.size)]


@pytest.mark.parametrize("code", ["self.lora_a[slot].copy_(a)", "self.rows[slot].copy_(rows)"])
def test_shares_of_models_that_the_text_does_not_name_are_not_told(code: str) -> None:
    assert models(48, 96, code=code) == models(64, 128, "INFO nemotron-3-nano-30b-a3b", code) == [(), ()]


def test_a_whole_width_is_told_and_beside_words_of_adapters_a_named_models_alone() -> None:
    lora = "self.lora_a[slot].copy_(a)"
    (narrow, _), (adapted, _) = models(512, 5120), models(512, 5120, code=lora)
    assert narrow
    assert all("/" not in model for model in narrow)
    assert adapted == ()
    assert models(512, 5120, "INFO qwen3.5-35b-a3b", lora)[0][0] == "intermediate size of qwen3.5-35b-a3b"


def test_a_half_is_told_of_the_model_that_has_the_other_size() -> None:
    assert models(2880, 5760)[1] == tuple(
        f"2 x intermediate size (gate and up) of gpt-oss-{size}b" for size in (20, 120)
    )
