"""SGLang: ``register_custom_op`` with ``out_shape`` or ``fake_impl``, and ``direct_register_custom_op``."""

from harness.engines.declared.engine import Engine

_LAYERS = "sglang.multimodal_gen.runtime.layers.utils"

ENGINE = Engine(
    name="sglang",
    title="SGLang",
    distribution="sglang",
    release="0.5.23",
    space="sglang",
    helpers={
        "sglang.srt.utils.custom_op": ("register_custom_op", "register_custom_op_from_extern"),
        "sglang.srt.utils.common": ("direct_register_custom_op",),
        _LAYERS: ("register_custom_op", "direct_register_custom_op"),
    },
    kernels=(
        "flashinfer",
        "deep_gemm",
        "aiter",
        "tilelang",
        "cutlass",
        "sgl_kernel",
        "tvm_ffi",
        "pynvml",
        "cuda",
        "xgrammar",
    ),
    folders=("sglang/kernels/jit/include", "sglang/kernels/jit/csrc"),
    stands_in=True,
    hidden=(
        "amdsmi",
        "torch_xla",
        "torch_npu",
        "torch_musa",
        "intel_extension_for_pytorch",
        "habana_frameworks",
        "ray",
    ),
    hooks="harness.engines.declared.engines.sglang_hooks",
    environment="vllm",
    environ={"CUDA_VISIBLE_DEVICES": ""},
)
