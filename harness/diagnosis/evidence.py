"""Words in a failure's text, frames and code included, that speak for something."""

import re

# A sentence of a report; longer ones say it of something else.
LOADING_FAILS = (
    r"\b[Ll]oading (?:[^.\n]|\.(?=\S)){0,80}?\b(?:fails|failed|crashes|(?:gives?|raises?|throws?|ends with|leads to)"
    r" (?:me )?(?:the |an? )?(?:following )?(?:errors?|exceptions?))\b"
)
_WORDS = {
    "moe": r"moe|MoE|MOE|[Ee]xpert|(?<!api_)(?<!sglang_)(?<!API)(?<!Api)router|routed|topk_(?:weights|ids)|\bw13|\bw2_weight"
    r"|nvfp4|NVFP4|mxfp4|MXFP4|mxfp8|[Uu]npad|hidden_dim|hidden_pad|padded",
    "experts": r"(?<!me)moe|MoE|MOE|[Ee]xpert|routed|topk_(?:weights|ids|idx)|\bw13|\bw2_weight",
    "load": r"\bcopy_\b|load_weights?\b|weight_loader|load_state_dict|loading state_dict|from checkpoint|load_w\d+|narrow_weight"
    r"|(?:[Cc]rash|[Ff]ail|[Ee]rror)\w* (?:at|on|during|while|when) load|[Ll]oading [`'\"]?[\w.]+\.(?:weight|bias)\b|"
    + LOADING_FAILS,
    "weights": r"load_weights?\b|weight_loader|load_state_dict|loading state_dict|from checkpoint|load_w\d|loaded_weight|\bparam\b"
    r"|[Ll]oading [`'\"]?[\w.]+\.(?:weight|bias)\b|" + LOADING_FAILS,
    "collective": r"all_?[rR]educe|reduce_scatter|all_?gather|symm_mem|pynccl|all_to_all"
    r"|[Bb]roadcast_ep|tensor_model_parallel|ProcessGroup|distributed_c10d",
    "replay": r"[Cc]uda_?[Gg]raph|CUDAGraph|cudagraph|\.replay\(|CUDA [Gg]raph|graph_replay|hipGraph"
    r"|cuda/graphs\.py|[Cc]uda[ _]graph|\bin replay\b|graph capture",
    "shared": r"shared_expert|shared_output|shared_out|\bshared\b|SharedExpert",
    "attention": r"attn|attention|Attention|flash|sdpa|num_heads|head_dim|q_proj|qkv|rope|rotary|kv_cache",
    "transposed": r"\.(?:transpose|permute|movedim|swapaxes)\(|\.(?:mT|T|t\(\))(?![\w])",
    "gate": r"\bgate\b|router|gate_proj|self\.gate\(",
    "pad": r"\bF\.pad\(|\bpad(?:ded|ding)?\b|[Uu]npad|hidden_dim_unpadded|hidden_pad",
    "capturing": r"[Cc]aptur(?!eStatus)",
    "vllm": r"vllm|vLLM",
    "sglang": r"sglang|SGLang|sgl_kernel",
}
# Options of a command and fields of a configuration name what could have run, not what did.
_OPTION = re.compile(
    r"--[\w.-]*(?:cuda|hip)_?-?graph[\w.-]*"
    r"|['\"]?\b\w*(?:cuda|hip)[_ ]?graph\w*['\"]?(?:=(?!=)|: ?(?=['\"\[{\d]|[Tt]rue|[Ff]alse|None|null))"
)
_NAMED_IN_OPTIONS = frozenset(("replay",))
_PATTERNS = {name: re.compile(text) for name, text in _WORDS.items()}


def speaks_for(what: str, text: str) -> bool:
    """Whether ``text`` has words of this: moe, load, weights, collective, replay, shared, attention, transposed, ..."""
    return bool(_PATTERNS[what].search(_OPTION.sub(" ", text) if what in _NAMED_IN_OPTIONS else text))
