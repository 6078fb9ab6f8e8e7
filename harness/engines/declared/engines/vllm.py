"""vLLM: ``direct_register_custom_op``, and fakes for the ops of its compiled libraries."""

from harness.engines.declared.engine import Engine

ENGINE = Engine(
    name="vllm",
    title="vLLM",
    distribution="vllm",
    release="0.33.0",
    space="vllm",
    helpers={
        "vllm.utils.torch_utils": ("direct_register_custom_op",),
        "vllm.utils": ("direct_register_custom_op",),  # where older releases have it
    },
    kernels=("flashinfer", "deep_gemm", "aiter", "tilelang", "cutlass", "helion", "vllm_flash_attn", "pynvml"),
    compiled=("vllm.vllm_flash_attn", "vllm.vllm_flash_attn.flash_attn_interface"),
    stands_in=True,
    runs_init=True,
    hidden=("amdsmi", "torch_xla", "tpu_inference", "libtpu", "nixl_ep", "intel_extension_for_pytorch", "ray"),
    hooks="harness.engines.declared.engines.vllm_hooks",
    environment="vllm",
    environ={"CUDA_VISIBLE_DEVICES": ""},
)
