"""Verdicts depend on nothing that came before: pinned settings, and caches keyed by what the fakes said."""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.base.torch_settings import DYNAMO, INDUCTOR
from harness.execution.pinned import cache_folder, fingerprint, keyed_by, pinned
from harness.execution.state.global_state import GlobalState
from harness.findings.finding import FINDINGS, OK
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.selection import Selection
from harness.matrix.shapes import Alignment, Shape
from harness.ops.registry import register_op
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts
from kernels.layer.subject import InTree

CPU = torch.device("cpu")
SUBJECT = InTree()
SMALL = Case.of(Shape("small", 80, 48, 4, 2, None, None, "silu", True), Alignment("test", 64, 32, 32), "narrow", 1, 7)
(GPT_OSS,) = Selection(models=("gpt-oss-20b",), rules=("trtllm-nvfp4",), kernels=("narrow",), tp=(1,)).cases()


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Torch's caches in a folder of this test's own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    """Drop what torch keeps in the process, so that only files can be hit."""
    torch._dynamo.reset()


def _says_padded_width(*args: Any) -> Tensor:
    """As if the kernel were wide."""
    out: Tensor = args[0].new_empty(args[0].shape)
    return out


def _status(case: Case, fake: Callable[..., Tensor] | None = None) -> str:
    """The verdict of compiled code, with the fake planted if there is one."""
    with routed_experts.planted(fake=fake):
        verdict = judge(SUBJECT, case, MODES["compiled"], CPU)
    assert verdict.status in (OK, FINDINGS), verdict.traceback
    return verdict.status


def _artefacts(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("fxgraph/**/*"))


ORDERS = {
    "right first": ((None, OK), (_says_padded_width, FINDINGS), (None, OK)),
    "broken first": ((_says_padded_width, FINDINGS), (None, OK), (_says_padded_width, FINDINGS)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", [SMALL, GPT_OSS], ids=lambda case: case.model)
@pytest.mark.parametrize("order", ORDERS)
def test_a_stale_cache_changes_no_verdict(order: str, case: Case, fresh_cache: Path) -> None:
    for fake, expected in ORDERS[order]:
        assert _status(case, fake) == expected
    assert _artefacts(fresh_cache) >= 2  # caches were on, one artefact a fake


def test_the_trap_is_real(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key that does not see the fakes, one of them is judged by the artefact of the other."""
    monkeypatch.setattr("harness.execution.pinned.fingerprint", lambda graph: "constant")
    found = [[_status(SMALL, fake) == expected for fake, expected in order] for order in ORDERS.values()]
    assert not all(all(true) for true in found)


def _says(width: int) -> Callable[..., Tensor]:
    """Fakes of one source, told apart by a closure alone."""

    def fake(*args: Any) -> Tensor:
        out: Tensor = args[0].new_empty(args[0].shape[0], width)
        return out

    return fake


@pytest.mark.parametrize("order", [(128, 80, 128), (80, 128, 80)])
def test_fakes_that_differ_by_a_closure_are_told_apart(order: tuple[int, ...], fresh_cache: Path) -> None:
    for width in order:
        assert _status(SMALL, _says(width)) == (OK if width == SMALL.width else FINDINGS)


class _Strides:
    """A fake of one source, told apart by an attribute alone."""

    def __init__(self) -> None:
        self.transposed = False

    def __call__(self, *args: Any) -> Tensor:
        shape = args[0].shape[0], args[10]
        out: Tensor = args[0].new_empty(shape[::-1]).t() if self.transposed else args[0].new_empty(shape)
        return out


def test_a_fake_that_changes_its_mind_is_told_apart(fresh_cache: Path) -> None:
    fake = _Strides()
    for transposed in (False, True, False):
        fake.transposed = transposed
        assert _status(SMALL, fake) == (FINDINGS if transposed else OK)


@pytest.mark.parametrize("mode", ["eager", "fake", "fake-dynamic", "compiled-dynamic"])
def test_the_other_modes_keep_nothing_of_a_fake_either(mode: str, fresh_cache: Path) -> None:
    for fake, expected in [*ORDERS["right first"], *ORDERS["broken first"]]:
        with routed_experts.planted(fake=fake):
            assert judge(SUBJECT, SMALL, MODES[mode], CPU).status == expected


def test_a_verdict_is_the_same_from_a_full_cache(fresh_cache: Path) -> None:
    first = judge(SUBJECT, SMALL, MODES["compiled"], CPU)
    filled = _artefacts(fresh_cache)
    again = judge(SUBJECT, SMALL, MODES["compiled"], CPU)
    assert (first.status, again.status) == (OK, OK)
    assert filled == _artefacts(fresh_cache) > 0


@register_op("cases_hermetic::same", "(Tensor x) -> Tensor", fake=torch.empty_like)
def same(x: Tensor) -> Tensor:
    return x.clone()


@register_op("cases_hermetic::scaled", "(Tensor x, float factor) -> Tensor", fake=lambda x, factor: torch.empty_like(x))
def scaled(x: Tensor, factor: float) -> Tensor:
    return x * factor


def _print_of(function: Callable[[Tensor], Tensor], *, rows: int = 2) -> str:
    """The fingerprint of what Dynamo traces."""
    prints: list[str] = []

    def backend(module: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        prints.append(fingerprint(module.graph))
        return module.forward

    torch._dynamo.reset()
    torch.compile(function, backend=backend, fullgraph=True, dynamic=False)(torch.zeros(rows, 3))
    (found,) = prints
    return found


def test_a_fingerprint_is_stable() -> None:
    assert _print_of(lambda x: same(x) + 1) == _print_of(lambda x: same(x) + 1)


def test_a_fingerprint_sees_custom_ops_alone() -> None:
    assert _print_of(lambda x: x + 1) == _print_of(lambda x: x * 2)
    assert _print_of(lambda x: same(x)) == _print_of(lambda x: same(x + 1))


@pytest.mark.parametrize(
    "other",
    [lambda x: same(same(x)), lambda x: scaled(x, 1.0), lambda x: same(x.t()), lambda x: same(x.double())],
    ids=["twice", "another op", "another stride", "another dtype"],
)
def test_a_fingerprint_differs_with_the_ops_and_what_they_are_given(other: Callable[[Tensor], Tensor]) -> None:
    assert _print_of(lambda x: same(x)) != _print_of(other)


def test_a_fingerprint_differs_with_constants_and_sizes() -> None:
    assert _print_of(lambda x: scaled(x, 1.0)) != _print_of(lambda x: scaled(x, 2.0))
    assert _print_of(lambda x: same(x)) != _print_of(lambda x: same(x), rows=3)


@pytest.mark.parametrize(
    "fake",
    [
        lambda x: x.new_empty(x.shape),
        lambda x: x.new_empty(x.shape[::-1]),
        lambda x: x.new_empty(x.shape[::-1]).t(),
        lambda x: x.new_empty(x.shape, dtype=torch.float64),
        lambda x: x.new_empty(x.shape[0] + 1, x.shape[1])[1:],
    ],
    ids=["source", "shape", "stride", "dtype", "offset"],
)
def test_a_fingerprint_differs_with_the_fake(fake: Callable[[Tensor], Tensor]) -> None:
    right = _print_of(lambda x: same(x))
    with same.planted(fake=fake):
        assert _print_of(lambda x: same(x)) != right


def test_a_fingerprint_differs_with_the_kernel() -> None:
    right = _print_of(lambda x: same(x))
    with same.planted(real=lambda x: x + 0):
        assert _print_of(lambda x: same(x)) != right


def test_keys_are_mixed_in_and_taken_out() -> None:
    config: Any = torch.compiler.config
    before = config.cache_key_tag
    with keyed_by("mine"):
        assert config.cache_key_tag == "mine"
    assert config.cache_key_tag == before


def _settings() -> dict[str, Any]:
    import torch._inductor.config as inductor

    dynamo: Any = torch._dynamo.config
    return {
        "environment": dict(os.environ),
        "dynamo": {name: getattr(dynamo, name) for name in DYNAMO},
        "inductor": {name: inductor.get_config_copy()[name] for name in INDUCTOR if name in inductor._config},
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "filters": list(warnings.filters),
    }


def test_settings_are_pinned_and_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    monkeypatch.delenv("CI", raising=False)
    before = _settings()
    with pinned():
        assert os.environ["CI"] == "1"
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(cache_folder())
        assert str(tmp_path) in os.environ["TORCHINDUCTOR_CACHE_DIR"]
        assert not torch.is_grad_enabled()
        assert torch.empty(8).isnan().all()
        dynamo: Any = torch._dynamo.config
        assert {name: getattr(dynamo, name) for name in DYNAMO} == DYNAMO
    assert _settings() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_settings_are_put_back_after_an_error_and_a_layer_that_changes_them() -> None:
    def layer() -> None:
        torch.set_grad_enabled(True)
        torch.use_deterministic_algorithms(False)
        os.environ["CI"] = "0"
        raise KeyError

    before = _settings()
    with pytest.raises(KeyError), pinned():
        layer()
    assert _settings() == before


def test_an_undeclared_alias_is_an_error_whoever_read_torchs_settings_first() -> None:
    """Torch takes the default from CI as it is when its settings are first imported."""
    config: Any = torch._functorch.config
    with config.patch(error_on_custom_op_aliasing=False):
        with pinned():
            assert config.error_on_custom_op_aliasing
        assert not config.error_on_custom_op_aliasing


def test_deterministic_mode_of_the_user_is_kept() -> None:
    torch.use_deterministic_algorithms(True, warn_only=False)
    try:
        with pinned():
            assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("warn_only", [True, False])
def test_deterministic_mode_comes_back_as_strict_as_it_was(warn_only: bool) -> None:
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with GlobalState() as state:
            torch.use_deterministic_algorithms(False)
        assert state.changed == ("deterministic mode",)
        assert torch.is_deterministic_algorithms_warn_only_enabled() is warn_only
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_cache_folder_is_this_torchs_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / f"inductor-torch-{torch.__version__}"
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().parent == tmp_path / "xdg" / "moe-padding-harness"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/xdg")
    assert cache_folder().parent == Path("~/.cache/moe-padding-harness").expanduser()


class _Negative(InTree):
    """Another subject, with another truth."""

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return {name: -part for name, part in super().oracle(case, inputs).items()}


def test_an_oracles_answer_is_not_another_subjects() -> None:
    first = InTree()
    place = id(first)
    assert judge(first, SMALL, MODES["eager"], CPU).status == OK
    del first
    others = [_Negative()]
    while id(others[-1]) != place and len(others) < 1000:
        others.append(_Negative())
    assert judge(others[-1], SMALL, MODES["eager"], CPU).status == FINDINGS


def test_an_oracles_answer_is_not_another_cases() -> None:
    cases = [SMALL, replace(SMALL, scaling=2.0), replace(SMALL, experts=3), SMALL]
    assert [judge(SUBJECT, case, MODES["eager"], CPU).status for case in cases] == [OK] * 4


class _WiderByDefault(InTree):
    """Its inputs leave another default dtype behind, as an engine's start-up may."""

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        made = super().inputs(case, tokens, seed, device)
        torch.set_default_dtype(torch.float64)
        return made


def test_a_default_dtype_does_not_leak_into_the_next_verdict() -> None:
    try:
        judge(_WiderByDefault(), SMALL, MODES["eager"], CPU)
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
