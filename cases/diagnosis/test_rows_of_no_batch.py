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
    ("sizes", "said"), [("n, 2, c", ""), ("n, topk, c", ""), ("(n, top_k, c)", ""), ("b, n, c", "static (48)")]
)
def test_a_size_of_a_reshape_that_counts_choices_is_no_batch(sizes: str, said: str) -> None:
    assert tokens(f"y = out.view({sizes})", message=RESHAPE) == said


BATCHES = {
    "RuntimeError: shape '[2, 7, 2688]' is invalid for input of size 43008": "static (14)",
    "RuntimeError: shape '[14, 2688]' is invalid for input of size 43008": "static (14)",
    "RuntimeError: shape '[1, 7, 2688]' is invalid for input of size 21504": "static (7)",
    "RuntimeError: shape '[2, 7, 21, 128]' is invalid for input of size 43008": "static (14)",
    FAKES.replace("(24, ", "(3, 8, "): "static (24)",
    FAKES.replace("(24, ", "(1, s7, "): "symbolic (s7)",
    FAKES.replace("(24, ", "(2, s7, "): "symbolic (2*s7)",
    FAKES.replace("(24, ", "(s3, s7, "): "symbolic (s3*s7)",
}


@pytest.mark.parametrize("message", BATCHES)
def test_leading_sizes_are_multiplied(message: str) -> None:
    assert (
        tokens("y = routed + x" if "add" in message else "y = out.view(b, s, c)", message=message) == BATCHES[message]
    )


def test_rows_of_each_expert_in_a_batch_of_weights_are_no_tokens() -> None:
    fakes = FAKES.replace("(24, 3072)", "(128, 24, 3072)").replace("(24, 2688)", "(128, 2688, 1536)")
    bmm = fakes.partition(": got")[0].replace("<built-in function add>", "<built-in method bmm of type object>")
    said = "Expected size for first two dimensions of batch2 tensor to be: [128, 3072] but got: [128, 2688]."
    message = f"{bmm}: got RuntimeError('{said}')"
    assert tokens("y = torch.bmm(x, w13)", message=message) == ""
