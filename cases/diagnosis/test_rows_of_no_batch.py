"""Tokens are told of a batch's rows alone: rows of a weight, of a shard or of one expert's slice are none."""

import pytest

from fixtures.diagnosing import diagnosis_of

TEXT = """INFO nemotron-3-nano-30b-a3b fused moe
Traceback (most recent call last):
  File "/srv/heron/layer.py", line 40, in forward
    {caller}
  File "/srv/heron/experts.py", line 12, in {function}
    {code}
{message}
"""
PRODUCT = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (24x3072 and 2688x1536)"
FAKES = (
    "torch._dynamo.exc.TorchRuntimeError: Dynamo failed to run FX node with fake tensors: call_function <built-in function add>"
    "(*(FakeTensor(..., size=(24, 3072)), FakeTensor(..., size=(24, 2688))), **{}): got RuntimeError('The size of tensor a (3072) "
    "must match the size of tensor b (2688) at non-singleton dimension 1)')"
)


def tokens(code: str, caller: str = "y = self.run(x)", function: str = "run", message: str = PRODUCT) -> str:
    one = diagnosis_of(TEXT.format(code=code, caller=caller, function=function, message=message))
    assert one.verdict != "other"
    return one.tokens


@pytest.mark.parametrize(
    "code",
    [
        "y = x[mask] @ self.w13[e].t()",
        "y = F.linear(part, self.w13[expert_id])",
        "y = rows @ self.w13.t()",
        "y = torch.mm(permuted, self.w13)",
        "y = self.w13_weight @ x.t()",
        "y = lora_b_weight @ lora_a_weight",
        "y = self.experts[i](x)",
    ],
)
def test_rows_of_one_expert_or_a_weight_are_no_tokens(code: str) -> None:
    assert tokens(code) == ""


@pytest.mark.parametrize(
    "caller", ["y = self.experts[e](part)", "y = expert(part)", "out += self.expert_list[k].run(part)"]
)
def test_a_caller_that_runs_one_expert_counts(caller: str) -> None:
    assert tokens("y = F.linear(x, self.weight)", caller) == ""


@pytest.mark.parametrize(
    "code", ["y = x @ self.w13.t()", "logits = F.linear(hidden_states, self.gate.weight)", "y = self.experts(x)"]
)
def test_rows_of_the_batch_are(code: str) -> None:
    assert tokens(code) == "static (24)"


@pytest.mark.parametrize(
    "code",
    [
        "w13 = w13_shard + delta_weight",
        "self.w13_weight.add_(update)",
        "param += update",
        "merged = weight * 2 + base_weight",
    ],
)
def test_a_sum_of_weights_has_no_tokens(code: str) -> None:
    assert tokens(code, message=FAKES) == ""


@pytest.mark.parametrize("code", ["y = routed + shared", "y += residual", "y = topk_weights + router_weight"])
def test_a_sum_of_activations_has(code: str) -> None:
    assert tokens(code, message=FAKES) == "static (24)"


RESHAPE = "RuntimeError: shape '[24, 2, 2688]' is invalid for input of size 147456"


@pytest.mark.parametrize(
    ("sizes", "said"), [("n, 2, c", ""), ("n, topk, c", ""), ("(n, top_k, c)", ""), ("b, n, c", "static (2)")]
)
def test_a_size_of_a_reshape_that_counts_choices_is_no_batch(sizes: str, said: str) -> None:
    assert tokens(f"y = out.view({sizes})", message=RESHAPE) == said
