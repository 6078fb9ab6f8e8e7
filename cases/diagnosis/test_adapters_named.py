"""A product with an adapter's matrix is told as that one's, by the names at the statement or at a near caller."""

import pytest

from fixtures.diagnosing import diagnosis_of

TEXT = """INFO model of experts: nemotron-3-nano-30b-a3b, max_lora_rank=256
Traceback (most recent call last):
  File "/srv/heron/block.py", line 133, in forward
    x = x + self.experts(t, self.router(t))
  File "/srv/heron/block.py", line 40, in {caller}
    y = y + self.delta(y)
  File "/srv/heron/experts.py", line 97, in {function}
    {code}
RuntimeError: mat1 and mat2 shapes cannot be multiplied ({left} and {right})
"""


def stage(
    code: str, function: str = "forward", caller: str = "run", left: str = "9x3072", right: str = "2688x256"
) -> str:
    return diagnosis_of(TEXT.format(code=code, function=function, caller=caller, left=left, right=right)).stage


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("d = x @ self.lora_a.t()", "LoRA A of an adapter"),
        ("d = F.linear(x, self.lora_A.weight)", "LoRA A of an adapter"),
        ("d = self.w13.lora_down(x)", "LoRA A of an adapter"),
        ("d = (x @ self.lora_a.t()) @ self.lora_b.t()", "LoRA A of an adapter"),
        ("d = F.linear(x, self.adapter.weight)", "product of an adapter (LoRA)"),
        ("d = h @ lora_B[name].T", "LoRA B of an adapter"),
    ],
)
def test_the_statement_names_it(code: str, part: str) -> None:
    assert part in stage(code)
    assert "router" not in stage(code)


def test_of_both_names_the_sizes_tell_which() -> None:
    code = "d = (x @ self.lora_a.t()) @ self.lora_b.t()"
    assert "LoRA B of an adapter" in stage(code, left="9x128", right="256x2688")
    assert "LoRA A or B of an adapter" in stage(code, left="9x3072", right="2688x4096")


@pytest.mark.parametrize(
    ("function", "caller", "part"),
    [
        ("lora_shrink", "run", "LoRA A of an adapter"),
        ("apply_lora_a", "run", "LoRA A of an adapter"),
        ("mm", "add_adapter", "an adapter (LoRA)"),
    ],
)
def test_a_near_function_names_it(function: str, caller: str, part: str) -> None:
    assert part in stage("return torch.mm(x, w)", function, caller)


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("return F.linear(x, self.w2_weight)", "apply_lora"),
        ("return torch.mm(x, w)", "forward_with_lora"),
        ("c = F.linear(x, self.kv_lora_weight)", "forward"),
        ("q = torch.mm(x, self.w[: self.q_lora_rank])", "forward"),
    ],
)
def test_the_base_layer_and_latent_attention_are_no_adapters(code: str, function: str) -> None:
    assert "adapter" not in stage(code, function)
