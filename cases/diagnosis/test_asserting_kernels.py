"""An assertion of one of torch's kernels is told as the call's that launches it, by the kernel's name or its condition."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import Diagnosis

ROOT = "/pytorch/aten/src/ATen/native/cuda/"
SELECT, ADD, FILL, COPY, TAKE = "index_select", "index_add_", "index_fill_", "index_copy_", "take or put_"
# The file, the kernel and the condition as ATen has them; what the answer names, and the calls that it must not name.
KERNELS = {
    "select": ("Indexing.cu", "indexSelectLargeIndex", "srcIndex < srcSelectDimSize", SELECT, ADD),
    "few of select": ("Indexing.cu", "indexSelectSmallIndex", "srcIndex < srcSelectDimSize", SELECT, ADD),
    "add": ("Indexing.cu", "indexFuncLargeIndex", "dstIndex < dstAddDimSize", ADD, "embedding"),
    "few of add": (
        "Indexing.cu",
        "indexFuncSmallIndex",
        "dstIndex < static_cast<IndexType>(dstAddDimSize)",
        ADD,
        "embedding",
    ),
    "copy": (
        "IndexKernel.cu",
        "operator()",
        'idx >= 0 && idx < self_dim_size && "index_copy_(): index out of bounds"',
        COPY,
        FILL,
    ),
    "fill": (
        "IndexKernel.cu",
        "operator()",
        'idx >= -self_dim_size && idx < self_dim_size && "index out of bounds"',
        FILL,
        COPY,
    ),
    "take": (
        "IndexKernel.cu",
        "operator()",
        'idx < numel && idx >= -numel && "cuda_take_put_kernel() index out of bounds"',
        TAKE,
        "x[",
    ),
    "index": (
        "IndexKernel.cu",
        "operator()",
        '-sizes[i] <= index && index < sizes[i] && "index out of bounds"',
        "x[ids]",
        FILL,
    ),
    "gather": (
        "ScatterGatherKernel.cu",
        "operator()",
        'idx_dim >= 0 && idx_dim < index_size && "scatter gather kernel index out of bounds"',
        "a scatter or a gather",
        "index_add_",
    ),
    "rows": (
        "IndexKernelUtils.cu",
        "vectorized_gather_kernel",
        'ind >=0 && ind < ind_dim_size && "vectorized gather kernel index out of bounds"',
        "gather of whole rows",
        "scatter",
    ),
}


def line_of(file: str, kernel: str, condition: str) -> str:
    return f"{ROOT}{file}:73: {kernel}: block: [4,0,0], thread: [32,0,0] Assertion `{condition}` failed.\n"


def raised(code: str) -> str:
    return (
        f'Traceback (most recent call last):\n  File "/srv/acme/net.py", line 9, in forward\n    {code}\n'
        "torch.AcceleratorError: CUDA error: device-side assert triggered\n"
    )


def only(text: str) -> Diagnosis:
    (one,) = diagnose(io.BytesIO(text.encode()), "x").failures
    return one


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_told_as_its_own_call(name: str) -> None:
    file, kernel, condition, named, other = KERNELS[name]
    first = only(line_of(file, kernel, condition)).cause.partition(". ")[0]
    assert named in first
    assert other not in first


CALLS = {
    "select": "rows = table.index_select(0, ids)",
    "add": "out.index_add_(0, token_ids, y)",
    "copy": "out.index_copy_(0, ids, y)",
    "fill": "mask.index_fill_(0, ids, 1)",
    "take": "y = x.take(ids)",
    "index": "y = x[ids]",
    "gather": "y = x.gather(1, ids)",
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("called", CALLS)
def test_a_line_launches_the_kernel_of_its_own_call(name: str, called: str) -> None:
    file, kernel, condition, _, _ = KERNELS[name]
    cause = only(line_of(file, kernel, condition) + raised(CALLS[called])).cause
    both = {name, called}
    launches = name.removeprefix("few of ") == called or both in (
        {"rows", "gather"},
        {"rows", "select"},
        {"rows", "index"},
    )
    # Newer releases of torch take rows for index_select as a gather.
    launches = launches or (name, called) == ("gather", "select")
    assert ("The line in the text launches one" in cause) == launches


OTHERS = {
    "masked_scatter": ("IndexKernel.cu", "masked_scatter_size_check", "totalElements <= srcSize"),
    "binary_cross_entropy": ("Loss.cu", "operator()", "input_val >= zero && input_val <= one"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_assertion_that_is_on_no_index_is_none(name: str) -> None:
    one = only(line_of(*OTHERS[name]) + raised("loss = f(x[idx])"))
    assert name in one.cause
    assert "index was out of range" not in one.cause


def test_an_assertion_that_is_not_known_is_quoted() -> None:
    one = only(line_of("../moe/acme_align.cu", "align", "num_blocks <= capacity") + raised("y = f(x[expert_idx])"))
    assert "num_blocks <= capacity" in one.cause
    assert "index was out of range" not in one.cause


def test_names_in_the_users_code_are_no_assertion() -> None:
    cause = only(raised("y = x[topk_idx]")).cause
    assert cause.startswith("An assertion in a kernel failed, and these lines do not have it")


def test_a_text_without_frames_has_no_line() -> None:
    assert "the line in the text" not in only(line_of(*KERNELS["select"][:3])).cause


def test_an_embedding_is_denied_ids_of_experts_in_clear_words() -> None:
    one = only(line_of(*KERNELS["select"][:3]) + raised("h = self.embed_tokens(ids)  # embedding"))
    (denied,) = one.against
    assert denied == "ids of experts: the line in the text looks ids or positions up in a table"
    assert "the vocabulary" in one.look


@pytest.mark.parametrize(("ids", "experts"), [("token_ids", False), ("topk_ids", True)])
def test_an_index_counts_experts_where_its_name_says_so(ids: str, experts: bool) -> None:
    code = f"out.index_add_(0, {ids}, expert_out)"
    assert ("(the number of experts)" in only(line_of(*KERNELS["add"][:3]) + raised(code)).look) == experts
