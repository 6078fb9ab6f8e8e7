"""Which rows have an id that is out of range: where the log says so, the answer has its words and does not deny them."""

import pytest

from fixtures.diagnosing import diagnosis_of

ASSERTION = (
    "/pytorch/aten/src/ATen/native/cuda/{file}:163: operator(): block: [0,0,0], thread: [8,0,0] "
    "Assertion `{condition}` failed.\n"
)
SCATTERS = ASSERTION.format(
    file="ScatterGatherKernel.cu", condition='idx_dim >= 0 && idx_dim < index_size && "index out of bounds"'
)
INDEXES = ASSERTION.format(
    file="IndexKernel.cu", condition='-sizes[i] <= index && index < sizes[i] && "index out of bounds"'
)
FRAMES = (
    'Traceback (most recent call last):\n  File "/srv/serve/experts.py", line 88, in route\n    {code}\n{message}\n'
)
ON_DEVICE = "torch.AcceleratorError: CUDA error: device-side assert triggered"
SCATTERED = SCATTERS + FRAMES.format(code="load.scatter_add_(0, topk_ids.view(-1), ones)", message=ON_DEVICE)
INDEXED = INDEXES + FRAMES.format(code="w = scales[topk_ids]  # of experts", message=ON_DEVICE)
ON_HOST = FRAMES.format(
    code="w = weights[topk_ids]", message="IndexError: index 64 is out of bounds for dimension 0 with size 64"
)


def _denies(text: str) -> bool:
    return any("does not tell which rows" in words for words in diagnosis_of(text).against)


@pytest.mark.parametrize("text", [SCATTERED, INDEXED, ON_HOST])
def test_a_text_that_does_not_tell(text: str) -> None:
    assert _denies(text)


@pytest.mark.parametrize(
    "words",
    [
        "padded rows carry topk_ids = -1",
        "rows 5..7 have expert id -1",
        "topk_ids of the dummy tokens: -1",
        "topk_ids is -1 in rows which fill the batch",
        "-1 marks unused slots in topk_idx",
    ],
)
def test_a_text_that_tells_the_rows(words: str) -> None:
    for text in (f"batch of 5, {words}\n{SCATTERED}", f"batch of 5, {words}\n" + "step ok\n" * 3000 + SCATTERED):
        one = diagnosis_of(text)
        assert not _denies(text)
        assert f'The text says of its rows: "{words[:20]}' in one.cause


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("padded rows carry topk_ids = 0", SCATTERED),
        ("no padded rows carry topk_ids = -1", SCATTERED),
        ("do padded rows carry topk_ids = -1?", SCATTERED),
        ("padded rows carry position ids -1", SCATTERED),
        ("padded rows carry topk_ids = -1", INDEXED),  # which counts from the end
        ("padded rows carry topk_ids = -1", ON_HOST),  # where another id is out of range
    ],
)
def test_words_of_other_ids_tell_nothing(words: str, text: str) -> None:
    assert _denies(f"{words}\n{text}")


def test_the_number_of_experts_as_an_id() -> None:
    assert not _denies(f"padded rows carry topk_ids = 64\n{ON_HOST}")
