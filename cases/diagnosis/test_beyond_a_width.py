"""A size a little wider than a width of the named model, at a line of experts, is no padding that is known, and may be one."""

import pytest

from fixtures.diagnosing import diagnosis_of

TEXT = """{before}
Traceback (most recent call last):
  File "/srv/rook/block.py", line 40, in forward
    {code}
RuntimeError: {message}
"""
MET = "The size of tensor a (7168) must match the size of tensor b (7424) at non-singleton dimension 1"
PRODUCT = "mat1 and mat2 shapes cannot be multiplied (9x1408 and 1280x4096)"
NAMED, ADD = "model deepseek-v3", "out = shared + routed"


@pytest.mark.parametrize(
    ("before", "code", "message", "verdict"),
    [
        (NAMED, ADD, MET, "undecided"),
        ("", ADD, MET, "other"),
        (NAMED, "out = a + b", MET, "other"),
        (NAMED, ADD, MET.replace("7424", "9000"), "other"),
        ("model step-3.7-flash", "y = torch.mm(h, down[e].t())", PRODUCT, "undecided"),
        ("model gpt-oss-20b", "y = torch.mm(h, down[e].t())", PRODUCT, "other"),
    ],
)
def test_at_a_line_of_experts_of_the_named_model(before: str, code: str, message: str, verdict: str) -> None:
    assert diagnosis_of(TEXT.format(before=before, code=code, message=message)).verdict == verdict


def test_no_other_models_width_is_told() -> None:
    one = diagnosis_of(TEXT.format(before="model step-3.7-flash", code="y = x @ self.proj", message=PRODUCT))
    assert {model.rpartition(" ")[2] for width in one.widths for model in width.models} == {"step-3.7-flash"}


@pytest.mark.parametrize(
    ("code", "function", "says"),
    [
        ("self.static_hidden[:n].copy_(hidden)", "copy_inputs", "while the layer runs"),
        ("self.buf.copy_(residual)", "put", "while the layer runs"),
        ("param.data.copy_(hidden_proj)", "put", "made at the padded one"),
        ("dst.copy_(src)", "put", "At load that is"),
    ],
)
def test_a_copy_of_an_activation_is_no_load(code: str, function: str, says: str) -> None:
    text = TEXT.format(before="", code=code, message=MET.replace("7168", "3072").replace("7424", "2880"))
    assert says in diagnosis_of(text.replace("in forward", f"in {function}")).cause
