"""Lengths that are a padded pair by chance: no width of a layer with experts meets in a rotary table, a mask, scores or a cache."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fixtures.diagnosing import diagnosis_of, raised

LONG, MADE_FOR = 3072, 2880
MEET = """INFO engine started: {head}
Traceback (most recent call last):
  File "/srv/net/{file}", line 40, in forward
    {caller}
  File "/srv/net/{file}", line 12, in {function}
    {code}
RuntimeError: The size of tensor a (3072) must match the size of tensor b (2880) at non-singleton dimension 1
"""


def met(
    code: str, file: str = "llama.py", function: str = "run", caller: str = "y = self.run(x)", head: str = "x"
) -> str:
    return MEET.format(code=code, file=file, function=function, caller=caller, head=head)


def full(*sizes: int) -> Tensor:
    return torch.zeros(1).expand(*sizes)


class Block:
    """What a block of attention holds."""

    def __init__(self) -> None:
        self.cos_cached, self.attn_bias = full(MADE_FOR, 64), full(1, MADE_FOR, MADE_FOR)
        self.k_cache, self.past_key = torch.zeros(1, MADE_FOR, 2, 8), torch.zeros(1, 2, 8, MADE_FOR)


self = Block()
q, k, v, x = full(2, LONG, 64), full(2, LONG, 64), full(2, MADE_FOR, 64), full(2, LONG, 64)
scores, attention_mask, key_states = full(2, LONG, LONG), full(1, MADE_FOR, MADE_FOR), full(1, LONG, 2, 8)
probs, freqs_cis = full(2, LONG, LONG), full(MADE_FOR, 64)


@pytest.mark.parametrize(
    "fails",
    [
        lambda: x * self.cos_cached,
        lambda: q * freqs_cis,
        lambda: scores + attention_mask,
        lambda: scores.masked_fill(attention_mask == 0, -1.0),
        lambda: torch.softmax(scores, -1) * attention_mask,
        lambda: torch.matmul(probs, v),
        lambda: torch.einsum("bqk,bkd->bqd", probs, v),
        lambda: functional.scaled_dot_product_attention(q, k, k, attn_mask=attention_mask),
        lambda: self.k_cache[:].copy_(key_states),
        lambda: torch.cat([self.past_key, self.past_key[..., :8]], dim=1),
    ],
)
def test_no_width_meets_at_a_line_of_lengths(fails: Callable[[], object]) -> None:
    one = diagnosis_of(raised(fails))
    assert (one.verdict, one.stage, one.padded) == ("other", "attention", None)
    assert one.tries == ()
    assert "the padding of hidden_states" not in one.cause


@pytest.mark.parametrize("file", ["llama.py", "moe/attention.py", "fused_moe_experts.py"])
@pytest.mark.parametrize(
    ("code", "function", "caller"),
    [
        ("return y * self.cos + other * self.sin", "turn", "y = self.turn(y)"),
        ("return y * c + other * s", "turn", "y = self.rope.turn(y)"),
        ("return y * c", "apply_rotary_emb", "y = self.attn(y)"),
        ("return y * c", "forward", "y = self.rotary_emb(y)"),
        ("out = (xq * freqs_cis).real", "run", "y = self.run(x)"),
        ("self.kv_cache[layer, :n] = new", "store", "store(new)"),
    ],
)
def test_not_even_where_the_text_speaks_of_experts(file: str, code: str, function: str, caller: str) -> None:
    one = diagnosis_of(met(code, file, function, caller))
    assert one.verdict == "other"
    assert "though 3072 = 2880 rounded up" in one.against[0]


def test_lengths_that_the_log_names_are_told() -> None:
    one = diagnosis_of(met("return q * self.cos", head="max_position_embeddings=2880, prompt_tokens: 3072, port=3072"))
    assert "The text has max_position_embeddings=2880 and prompt_tokens=3072, as lengths are named." in one.cause
    assert "more or fewer positions than the table was made for" in one.cause
    assert "as lengths are named" not in diagnosis_of(met("return q * self.cos", head="max_model_len=4096")).cause


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("return shared_output + routed", "family"),
        ("return residual + self.attn(hidden_states)", "undecided"),
        ("attn_output = attn_output + residual", "undecided"),
        ("return hidden_states + self.attn_bias_out", "undecided"),
        ("return F.cosine_similarity(routed, shared_output)", "family"),
        ("return self.rotated + routed_output", "family"),
    ],
)
def test_a_hidden_width_may_still_meet(code: str, verdict: str) -> None:
    one = diagnosis_of(met(code, head="max_model_len=2880"))
    assert one.verdict == verdict
    assert "as lengths are named" not in one.cause or verdict == "undecided"


def test_a_line_of_attention_that_speaks_of_padding_is_not_decided() -> None:
    assert diagnosis_of(met("y = attn_mask_out + pad_columns(y)")).verdict == "undecided"


def test_in_attention_words_of_experts_or_a_hidden_tensor_are_asked_for() -> None:
    assert diagnosis_of(met("y = y * self.causal_gain")).verdict == "other"
    assert diagnosis_of(met("y = y * self.causal_gain", "moe.py")).verdict == "undecided"


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        ("return x + self.pos_table[:n]", "a sum with positions"),
        ("h = h * seq_mask", "a line of sequences"),
        ("y[:, : self.max_len] = ids", "a line of sequences"),
        ("self.token_buf[:n].copy_(ids)", "a line of sequences"),
        ("s = s + alibi", "attention"),
        ("k = torch.cat([past_k, k])", "attention"),
    ],
)
def test_positions_and_sequences_are_no_widths_where_nothing_speaks_of_experts(code: str, stage: str) -> None:
    one = diagnosis_of(met(code))
    assert (one.verdict, one.stage) == ("other", stage)


def test_positions_beside_experts_are_not_decided() -> None:
    one = diagnosis_of(met("return x + self.pos_table[:n]", "moe.py"))
    assert (one.verdict, one.padded) == ("undecided", None)
    assert "the padding of hidden_states" in one.cause
    assert diagnosis_of(met("return routed + shared_output[pos_ids]", "moe.py")).verdict == "family"
