"""What costs much and shows nothing is left out."""

import importlib
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fixtures.judged import judged
from harness.execution.pinned import skip_unused_hash
from kernels.layer.layer import PaddedMoELayer


def _filled(mode: str) -> int:
    """How often a verdict looks into a cache of fake tensors in vain, and so fills it."""
    FakeTensorMode.cache_clear()
    assert judged(PaddedMoELayer, mode=mode).ok
    return int(FakeTensorMode.cache_info().misses)


@pytest.mark.parametrize("mode", ["fake-dynamic", "compiled-dynamic"])
def test_a_trace_over_symbols_caches_no_fakes(mode: str) -> None:
    assert _filled(mode) == 0


def test_a_trace_of_plain_sizes_caches_its_fakes() -> None:
    assert _filled("fake") > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA, the hash is a part of Inductor's keys")
def test_a_hash_that_no_key_holds_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_unused_hash()
    codecache: Any = importlib.import_module("torch._inductor.codecache")
    if not hasattr(codecache, "triton_key"):
        pytest.skip(f"torch {torch.__version__} makes no such hash")
    read = codecache.CacheBase.get_system
    if "version" in read():
        assert read()["version"]["triton"] == codecache.triton_key()
        pytest.skip(f"a key of torch {torch.__version__} holds the hash")
    assert codecache.triton_key() is None
    read.cache_clear()
    without = read()
    read.cache_clear()
    monkeypatch.setattr(codecache, "triton_key", lambda: "a hash")
    assert read() == without
