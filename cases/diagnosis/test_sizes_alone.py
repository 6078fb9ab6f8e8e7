"""Two sizes that a model and a rule fit may have come by chance: padding is one reading of them where nothing else speaks for it."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

MESSAGES = {
    "a reshape": "shape '[40, 2880]' is invalid for input of size 122880",
    "a reshape that asks for more": "shape '[40, 3072]' is invalid for input of size 115200",
    "an add": "The size of tensor a (2880) must match the size of tensor b (3072) at non-singleton dimension 1",
    "an add, the other way": "The size of tensor a (3072) must match the size of tensor b (2880) at non-singleton dimension 1",
    "a product": "mat1 and mat2 shapes cannot be multiplied (40x3072 and 2880x1000)",
    "a write": "source tensor shape must match self tensor shape, excluding the specified dimension. Got "
    "self.shape = [7, 2880] source.shape = [4, 3072]",
    "a load": "Error(s) in loading state_dict for Net: size mismatch for fc.weight: copying a param with shape torch.Size([2880]) "
    "from checkpoint, the shape in current model is torch.Size([3072]).",
    "a cat": "Sizes of tensors must match except in dimension 0. Expected size 2880 but got size 3072 for tensor number 1.",
}


def frame(file: str, code: str) -> str:
    return f'Traceback (most recent call last):\n  File "{file}", line 40, in forward\n    {code}\n'


FRAMES = {"none": "", "another model's": frame("/home/u/unet/blocks.py", "y = op(a, b)")}


def only(text: str) -> Diagnosis:
    (one,) = diagnose(io.BytesIO(text.encode()), "x").failures
    return one


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("name", MESSAGES)
def test_two_sizes_alone_are_one_reading_of_several(name: str, frames: str) -> None:
    one = only(f"{FRAMES[frames]}RuntimeError: {MESSAGES[name]}\n")
    assert one.verdict == "undecided"
    assert one.cause.startswith("If this is padding: ")
    assert "Or no padding at all" in one.cause
    assert one.relatives == ()


SPOKEN = {
    "experts": frame("/srv/x/block.py", "y = op(experts_out, b)"),
    "an engine": frame("/opt/vllm/model_executor/models/x.py", "y = op(a, b)"),
    "a layer of a language model": frame("/srv/x/decoder.py", "y = op(hidden_states, b)"),
    "the model": "INFO serving openai/gpt-oss-20b\n",
}


@pytest.mark.parametrize("spoken", SPOKEN)
@pytest.mark.parametrize("name", MESSAGES)
def test_a_layer_or_its_model_in_the_text_decides(name: str, spoken: str) -> None:
    one = only(f"{SPOKEN[spoken]}RuntimeError: {MESSAGES[name]}\n")
    assert one.verdict == "family"
    assert "Or no padding at all" not in one.cause


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_alone_says_nothing_of_eager_code(name: str) -> None:
    assert only(f"RuntimeError: {MESSAGES[name]}\n").phase == ""


def test_a_reshape_of_no_layer_is_not_the_final_one() -> None:
    one = only(f"RuntimeError: {MESSAGES['a reshape']}\n")
    assert one.stage == "a reshape, as the final one after the routed experts is"
    assert one.look.startswith("the tensor's shape at that line")


def test_a_padding_that_was_not_cut_off_is_looked_for_where_it_should_be() -> None:
    line = frame("/x/moe.py", "return out.view(n, self.hidden)")
    one = only(f"{line}RuntimeError: {MESSAGES['a reshape']}\n")
    assert "x[..., :2880]" in one.look
    other = only(f"{line}RuntimeError: {MESSAGES['a reshape that asks for more']}\n")
    assert other.look == "where the reshape has its width from: the model's hidden size, not the experts' own"


VIEW = (
    "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous "
    "subspaces). Use .reshape(...) instead."
)


@pytest.mark.parametrize(
    ("file", "code", "verdict"),
    [
        ("/home/a/train/ddp.py", "dist.all_reduce(grad.view(-1))", "undecided"),
        ("/srv/moe/experts.py", "dist.all_reduce(expert_out.view(-1))", "family"),
    ],
)
def test_a_collective_of_no_layer_may_have_been_given_any_view(file: str, code: str, verdict: str) -> None:
    one = only(f"{frame(file, code)}RuntimeError: {VIEW}\n")
    assert one.verdict == verdict
    assert ("and so do transposes" in one.cause) == (verdict == "undecided")
