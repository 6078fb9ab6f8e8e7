"""Of the Python functions that are registered for an op, those of a backend are its implementations; a rule is none."""

from collections.abc import Iterator

import pytest
import torch

from harness.audit import registrations
from harness.audit.ops import find


@pytest.fixture
def lib(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.library.Library]:
    """A library whose registrations are observed, with an op that nothing implements in Python."""
    monkeypatch.setattr(torch.library.Library, "define", torch.library.Library.define)
    monkeypatch.setattr(torch.library.Library, "impl", torch.library.Library.impl)
    monkeypatch.setattr(registrations, "_seen", {})
    registrations.observe()
    with torch.library._scoped_library("wrapped_ops", "DEF") as library:
        library.define("double(Tensor x) -> Tensor")
        yield library


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_a_rule_is_no_implementation(lib: torch.library.Library) -> None:
    torch.library.register_vmap("wrapped_ops::double", lambda info, dims, x: (x * 2, dims[0]), lib=lib)
    lib.impl("double", double, "AutocastCPU")
    lib.impl("double", double, "AutogradCPU")
    lib.impl("double", double, "Autograd")
    lib.impl("double", double, "Meta")
    assert len(registrations._seen["wrapped_ops::double"].kernels) == 5
    assert registrations.implementations(find("wrapped_ops::double")) == []


@pytest.mark.parametrize("key", ["CPU", "CUDA", "CompositeExplicitAutograd", "CompositeImplicitAutograd"])
def test_a_kernel_of_a_backend_is_an_implementation(key: str, lib: torch.library.Library) -> None:
    lib.impl("double", double, key)
    assert registrations.implementations(find("wrapped_ops::double")) == [double]


def test_a_kernel_without_a_key_is_an_implementation(lib: torch.library.Library) -> None:
    lib.impl("double", double)
    assert registrations.implementations(find("wrapped_ops::double")) == [double]


# ``{space}`` is an op's namespace. The source runs as a module of torch, or as one of a package.
DEFINES = """
import torch
lib = torch.library.Library("{space}", "DEF")
lib.define("one(Tensor x) -> Tensor")
torch.library.define("{space}::two", "(Tensor x) -> Tensor", lib=lib)
torch.library.custom_op("{space}::three", lambda x: x * 2, mutates_args=(), schema="(Tensor x) -> Tensor")
"""


@pytest.mark.usefixtures("lib")
@pytest.mark.parametrize("module", ["torch.distributed.pipelining._IR", "a_package.ops"])
def test_an_op_that_torch_defines_when_a_package_imports_it_is_torch_s(module: str) -> None:
    space = f"defined_in_{module.partition('.')[0]}"
    names = {"__name__": module}
    exec(DEFINES.format(space=space), names)
    names["lib"]._destroy()
    assert {registrations._seen[f"{space}::{name}"].module for name in ("one", "two", "three")} == {module}
