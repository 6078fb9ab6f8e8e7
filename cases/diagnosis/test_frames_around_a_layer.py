"""Words of frames around a layer, an engine's start or its driver, say nothing of the tensors that meet in it."""

import pytest

from fixtures.diagnosing import diagnosis_of

HEAD = "Traceback (most recent call last):\n"
VLLM = """\
  File "/opt/v/lib/python3.12/site-packages/vllm/v1/engine/core.py", line 109, in __init__
    num_gpu_blocks, num_cpu_blocks, kv_cache_config = self._initialize_kv_caches(
  File "/opt/v/lib/python3.12/site-packages/vllm/v1/worker/gpu_worker.py", line 324, in determine_available_memory
    self.model_runner.profile_run(page_size, self.kv_cache_dtype)
"""
SGLANG = """\
  File "/opt/v/lib/python3.12/site-packages/sglang/srt/managers/scheduler.py", line 311, in __init__
    self.tree_cache = build(page_size, self.kv_cache_pool)
  File "/opt/v/lib/python3.12/site-packages/sglang/srt/model_executor/model_runner.py", line 88, in initialize
    self.init_attention_backend(paged=True, lora=self.lora_manager)
"""
OWN = """\
  File "/srv/heron/serve.py", line 61, in main
    blocks = Engine(kv_cache=pages, lora=None).start()
  File "/srv/heron/engine.py", line 40, in start
    return self.loop()
  File "/srv/heron/engine.py", line 52, in loop
    self.step()
"""
LAYER = """\
  File "/opt/v/lib/python3.12/site-packages/heron/models/big_moe.py", line 425, in forward
    x = layer(x)
  File "/opt/v/lib/python3.12/site-packages/heron/models/big_moe.py", line 352, in forward
    x = self.mlp(x)
  File "/opt/v/lib/python3.12/site-packages/heron/models/big_moe.py", line 210, in mixed
    return self.merge(parts)
  File "/opt/v/lib/python3.12/site-packages/heron/models/big_moe.py", line 190, in merge
    {line}
RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 1
"""


@pytest.mark.parametrize("around", [VLLM, SGLANG, OWN, ""])
@pytest.mark.parametrize(("a", "b"), [(2560, 3072), (3328, 3584)])
def test_an_add_is_told_as_without_the_frames_around_it(around: str, a: int, b: int) -> None:
    line = "out = parts[0] + parts[1]"
    one = diagnosis_of(HEAD + around + LAYER.format(line=line, a=a, b=b))
    assert one.verdict != "other"
    assert one.stage.startswith("add at the user's line")
    assert not any(word in one.cause for word in ("paged cache", "adapters", "numbers of attention heads"))


@pytest.mark.parametrize("around", [VLLM, SGLANG, OWN])
def test_sizes_that_no_rule_joins_are_told_without_their_words(around: str) -> None:
    one = diagnosis_of(HEAD + around + LAYER.format(line="out = parts[0] + parts[1]", a=2560, b=3712))
    assert "The text has words of" not in one.cause


@pytest.mark.parametrize("line", ["out = blocks + kv_cache[page]", "out = lora_out + parts[1]"])
def test_the_words_of_the_line_itself_count(line: str) -> None:
    one = diagnosis_of(HEAD + VLLM + LAYER.format(line=line, a=2560, b=3712))
    assert "The text has words of" in one.cause


def test_the_words_of_an_engine_count_where_no_layer_ran() -> None:
    failed = "RuntimeError: The size of tensor a (2560) must match the size of tensor b (3712) at non-singleton dimension 1\n"
    assert "a paged cache" in diagnosis_of(HEAD + VLLM + failed).cause
