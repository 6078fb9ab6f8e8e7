"""FlashInfer: decorators that register nothing, kernels behind a JIT."""

from harness.engines.declared.engine import Engine

ENGINE = Engine(
    name="flashinfer",
    title="FlashInfer",
    distribution="flashinfer-python",
    release="0.7.2.post1",
    space="flashinfer",
    helpers={"flashinfer.utils": ("register_custom_op", "register_fake_op")},
    kernels=("tvm_ffi", "cuda", "pynvml", "tqdm", "requests"),
    # It checks for these and does without. An installed one is hidden: its kernels and compilers ask for a real GPU, and a
    # row must not depend on what stands beside FlashInfer.
    hidden=("cutlass", "cudnn"),
    hooks="harness.engines.flashinfer.hooks",
    environ={"FLASHINFER_CUDA_ARCH_LIST": "10.0a"},
)
