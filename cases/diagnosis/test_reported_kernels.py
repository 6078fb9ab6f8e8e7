"""compute-sanitizer's report of a fault: it is not lost, whoever wrote it, and the kernel that it names decides."""

import io

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Diagnosis

FAULT = """Traceback (most recent call last):
  File "/opt/serve/models/layer.py", line 231, in forward
    out = self.experts(hidden_states, topk_ids)
  File "/opt/serve/layers/fused_moe/align.py", line 90, in moe_align_block_size
    expert_ids = torch.empty(
torch.AcceleratorError: CUDA error: an illegal memory access was encountered
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect."""
REPORT = """========= COMPUTE-SANITIZER
========= Invalid __global__ {how} of size 16 bytes
=========     at {kernel}
=========     by thread (32,0,0) in block (1021,0,0)
=========     Access at 0x7f2a5e000200 is out of bounds
========= ERROR SUMMARY: 1 error"""
INNER, UNIT = "(EngineCore pid=77) ERROR 11-03 04:17:22 [core.py:1108] ", "Nov 03 04:17:22 gpu07 serve[48213]: "
TOOL = "Nov 03 05:02:41 gpu07 serve-sanitizer[51020]: "
CACHE = "void cache::reshape_and_cache_flash_kernel<__nv_bfloat16, (Kv)0>(const T1 *, T2 *)+0x5e0"


def report(kernel: str, how: str = "write") -> str:
    return REPORT.format(kernel=kernel, how=how)


def before(prefix: str, text: str) -> list[str]:
    return [f"{prefix}{line}" for line in text.split("\n")]


def the_one(lines: list[str]) -> Diagnosis:
    (one,) = diagnose(io.BytesIO("\n".join(lines).encode()), "x").failures
    return one


@pytest.mark.parametrize("first", ["fault", "report"])
@pytest.mark.parametrize(
    ("fault", "tool"), [("", ""), (INNER, ""), (UNIT + INNER, TOOL), (UNIT + INNER, UNIT), (INNER, TOOL), (UNIT, TOOL)]
)
def test_a_report_is_not_lost_whoever_wrote_it(fault: str, tool: str, first: str) -> None:
    parts = [before(fault, FAULT), before(tool, report(CACHE))]
    one = the_one([line for part in (parts if first == "fault" else parts[::-1]) for line in part])
    assert "cache::reshape_and_cache_flash_kernel" in one.cause
    assert one.verdict == OTHER
    assert not one.relatives
    assert "expert id" not in one.cause


@pytest.mark.parametrize("prefixes", [("", ""), (UNIT + INNER, TOOL)])
@pytest.mark.parametrize(
    ("kernel", "of"),
    [
        (CACHE, "cache"),
        ("void vllm::paged_attention_v2_kernel<float, 128>(float *)+0x10", "attention"),
        ("void flash::flash_fwd_splitkv_kernel<Traits>(Params)+0x9a0", "attention"),
        ("void vllm::fused_add_rms_norm_kernel<c10::Half, 8>(T *)+0x40", "norm"),
        ("vllm::rotary_embedding_kernel<c10::Half>(const long *):0x20", "rotary"),
        ("void at::native::(anonymous namespace)::indexSelect_embedding_bag<float>(long)+0x90", "embedding"),
        ("0x150 in /src/cache_kernels.cu:88:void concat_and_cache_mla_kernel<float>(float *)", "cache"),
    ],
)
def test_a_kernel_that_is_none_of_experts_is_not_of_this_family(
    kernel: str, of: str, prefixes: tuple[str, str]
) -> None:
    one = the_one([*before(prefixes[0], FAULT), *before(prefixes[1], report(kernel))])
    assert (one.verdict, of in one.stage) == (OTHER, True)
    assert one.op in one.cause
    assert not {"(anonymous", "in", "void"} & {*one.op.split()}
    assert not one.relatives
    assert "CUDA_LAUNCH_BLOCKING" not in f"{one.look} {one.against}"


@pytest.mark.parametrize("prefixes", [("", ""), (UNIT + INNER, TOOL)])
@pytest.mark.parametrize(
    ("kernel", "stage"),
    [
        ("void vllm::moe::moe_align_block_size_kernel<int>(int *)+0x130", "a kernel of the routed experts"),
        ("void vllm::moe::topkGatingSoftmax<8, 128>(float const *)+0x130", "a kernel of the routed experts"),
        ("void at::native::vectorized_elementwise_kernel<4, Fill>(int)+0x10", "a kernel on the device, perhaps"),
    ],
)
def test_a_kernel_of_experts_or_of_anything_stays_what_it_may_be(
    kernel: str, stage: str, prefixes: tuple[str, str]
) -> None:
    one = the_one([*before(prefixes[0], FAULT), *before(prefixes[1], report(kernel, "read"))])
    assert one.verdict == UNDECIDED
    assert one.stage.startswith(stage)
    assert one.op in one.cause
    assert "expert id -1" in one.cause
    assert "compute-sanitizer do" not in str(one.against)
    assert "CUDA_LAUNCH_BLOCKING" not in one.look


def test_two_kernels_are_both_named_and_one_of_experts_keeps_it_open() -> None:
    moe = report("void moe::permute_rows_kernel<int>(int *)+0x130")
    one = the_one([*before(UNIT + INNER, FAULT), *before(TOOL, report(CACHE)), *before(TOOL, moe)])
    assert one.verdict == UNDECIDED
    assert "reshape_and_cache_flash_kernel, moe::permute_rows_kernel" in one.cause
