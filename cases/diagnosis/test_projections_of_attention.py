"""A projection of attention is told as such, by its own name or by a caller that calls attention, in a text with experts too."""

import pytest

from fixtures.diagnosing import diagnosis_of

PRODUCT = """INFO heron 0.3, experts mxfp4 by marlin (hidden 2880 -> 3072), tp=1
Traceback (most recent call last):
  File "/srv/heron/decoder.py", line 61, in forward
    x = {caller}
  File "/srv/heron/decoder.py", line 30, in forward
    return {code}
RuntimeError: mat1 and mat2 shapes cannot be multiplied (37x{a} and {b}x{n})
"""
OUT, QKV = "output projection of attention", "qkv projection of attention"


def told(caller: str, code: str, a: int = 4096, b: int = 2880, n: int = 2880) -> tuple[str, str]:
    one = diagnosis_of(PRODUCT.format(caller=caller, code=code, a=a, b=b, n=n))
    return one.verdict, one.stage


@pytest.mark.parametrize(
    ("caller", "code", "part"),
    [
        ("x + self.mixer(x)", "self.o_proj(y.flatten(1))", OUT),
        ("x + self.mixer(x)", "F.linear(x, self.wqkv)", QKV),
        ("x + self.attn(self.norm(x))", "self.out_proj(y)", OUT),
        ("x + self.self_attention(x)", "F.linear(y, self.wo)", OUT),
    ],
)
def test_a_projection_of_attention_is_no_part_of_the_experts(caller: str, code: str, part: str) -> None:
    assert told(caller, code) == ("other", part)


def test_hidden_and_latent_width_at_it_are_no_latent_in_place_of_the_other() -> None:
    assert told("x + self.mixer(x)", "self.o_proj(y)", 4096, 1024, 2048) == ("other", OUT)


@pytest.mark.parametrize(
    ("caller", "code"),
    [("self.experts[e](x)", "self.wo(y)"), ("self.mixer(x)", "self.out_proj(y)"), ("self.mixer(x)", "self.in_proj(y)")],
)
def test_a_name_that_experts_and_mixers_have_too_is_not_enough(caller: str, code: str) -> None:
    assert "attention" not in told(caller, code)[1]


def test_padded_hidden_states_may_come_into_queries_and_hardly_into_the_output() -> None:
    assert told("x + self.attn(x)", "self.q_proj(x)", 3072) == ("family", QKV)
    assert told("x + self.attn(x)", "self.o_proj(y)", 3072) == ("undecided", OUT)
