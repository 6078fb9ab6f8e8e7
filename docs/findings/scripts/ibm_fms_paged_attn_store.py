import torch
import fms.utils.spyre.paged

key = value = torch.randn(1, 5, 4, 64)  # one sequence of five tokens, four heads
cache = torch.zeros(3, 16, 4, 128)[..., :64]  # a part of a wider cache
slots = torch.arange(5).unsqueeze(0)
print("real", torch.ops.spyre.paged_attn_store(key, value, cache, cache, slots)[0].stride())
meta = cache.to("meta").as_strided(cache.shape, cache.stride())
print(
    "fake", torch.ops.spyre.paged_attn_store(key.to("meta"), value.to("meta"), meta, meta, slots.to("meta"))[0].stride()
)
