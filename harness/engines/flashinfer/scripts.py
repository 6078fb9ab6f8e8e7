"""A script of five lines that shows a breach without the harness: FlashInfer's functions, mocked kernels, one sample."""

import enum
import inspect
from typing import Any

import torch
from torch import Tensor

from harness.engines.declared.running.building import given_to
from harness.engines.declared.running.capture import Captured
from harness.engines.declared.source.schema import enumeration, hints_of

_DECORATED = "m.register_custom_op = m.register_fake_op = lambda *_, **__: lambda x: f.setdefault(x.__name__, x)"
_TUNER = "AutoTuner=mock.MagicMock(**{'get.return_value.choose_one.return_value': (None, -1)})"
# What a launcher returns, and the size that depends on the routing in a fake.
_LAUNCHED = "torch.from_dlpack = lambda _: torch.ones(1); torch.library.get_ctx = lambda: mock.Mock(new_dynamic_size=lambda: 30)"
# In a module without a declaring function: the names that load kernels, or ask which ones exist.
_LOADS = "n.startswith('gen_') or n.endswith('_cute') or n == '_use_cuda_norm'"
# The runners of Prims-TS. They return what each forward in prims_ts/moe/runner.py returns.
_RUNS = "mock.MagicMock(**{'return_value.forward': lambda *_, **a: [] if a['do_finalize'] else [torch.ones(1)] * 3})"
_PRIMS_TS = (
    f"**{{n: {_RUNS} for n in dir(m) if n.endswith('Runner')}}, **{{n: lambda *_, **__: (True, '') for n in dir(m) "
    f"if n.startswith('is_prims_ts_')}}, _get_moe_op=mock.MagicMock(), {_TUNER}"
)
_MACHINE = "device_support_pdl=lambda *_: False, get_compute_capability=lambda *_: (10, 0)"


def script(captured: Captured, arguments: dict[str, Any], row: str) -> str:
    """The text of a script that prints the outputs of the real function and of its fake; for a declaration, torch's error."""
    assert captured.real is not None
    own = inspect.unwrap(captured.real).__name__
    fake = inspect.unwrap(captured.fake).__name__ if captured.fake else ""
    lines = ["import importlib, inspect, torch, unittest.mock as mock"]
    lines += [f'm, f = importlib.import_module("{captured.declared.module}"), {{}}; ']
    if captured.declared.function:
        lines[1] += _DECORATED
    else:
        lines[1] += f"f |= {{n: getattr(m, n) for n in dir(m) if n in ({own!r}, {fake!r})}}"
    lines += [_mocked(captured)]
    lines += [_arguments(captured, arguments)] if arguments else []
    return "\n".join([*lines, _shown(captured, own, fake, row)])


def _shown(captured: Captured, own: str, fake: str, row: str) -> str:
    """The last line, which prints the result."""
    assert captured.real is not None
    schema = f"torch.library.infer_schema(f[{own!r}], mutates_args={captured.mutates!r})"
    if row == "declared schema":
        return f"torch._C.parse_schema('op' + {schema})"
    if row == "parameters":
        return f"for name in ({own!r}, {fake!r}): print(name, inspect.signature(f[name]))"
    declared = f"'declared as written:', {captured.mutates!r}"
    if row == "mutation" and inspect.signature(captured.real).return_annotation is None:
        given = f"[n for n in inspect.signature(f[{own!r}]).parameters if n.endswith('out') and n not in {captured.mutates!r}]"
        return f"print('named like outputs but not declared as written:', {given}, {declared})"
    if row in ("mutation", "alias"):
        given = f"[n for n, v in a.items() for t in torch.utils._pytree.tree_leaves(f[{own!r}](**a)) if v is t]"
        return f"print('arguments returned as outputs:', {given}, {declared})"
    leaves = "for t in torch.utils._pytree.tree_leaves(f[name](**a)) if isinstance(t, torch.Tensor)"
    show = f"[(tuple(t.shape), t.stride(), t.dtype, t.device.type) {leaves}]"
    return f"for name in ({own!r}, {fake!r}): print(name, {show})"


def _arguments(captured: Captured, arguments: dict[str, Any]) -> str:
    assert captured.real is not None
    parameters = inspect.signature(captured.real).parameters
    needed = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    given = {name: value for name, value in arguments.items() if value is not None or name in needed}
    kinds = {name: enumeration(hint) for name, hint in hints_of(captured.real).items()}
    keywords = [f"{name}={_source(value, kinds.get(name))}" for name, value in given.items()]
    return f"a = dict({', '.join(keywords)})"


def _mocked(captured: Captured) -> str:
    """The lines that mock the JIT, the tuner and questions about the GPU, then call the function that declares the op."""
    module, function = captured.declared.module, captured.declared.function
    which = "n.startswith('gen_')" if function else _LOADS
    mocks = f"**{{n: mock.MagicMock() for n in dir(m) if {which}}}, {_MACHINE}"
    mocks += f", {_PRIMS_TS}" if ".prims_ts" in module else ""
    line = f"mock.patch.multiple(m, create=True, {mocks}{', ' + _TUNER if 'core' in module else ''}).start()"
    if not function:
        return line
    given = ", ".join(repr(value) for value in given_to(module, function).values())
    launched = f"; {_LAUNCHED}" if "core" in module else ""
    return f"{line}{launched}; m.{function}.__wrapped__({given})"


def _source(value: Any, kind: type[enum.Enum] | None = None) -> str:
    if kind and isinstance(value, int):
        return f"m.{kind.__name__}({value!r})"
    if isinstance(value, Tensor) and value.dim() > 1 and not value.is_contiguous() and value.mT.is_contiguous():
        return f"{_source(value.mT)}.mT"
    if isinstance(value, Tensor):
        plain = f"torch.ones({', '.join(map(str, value.shape))})"
        return plain if value.dtype is torch.float32 else f"{plain}.to({value.dtype})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_source(item) for item in value)}]"
    return repr(value)
