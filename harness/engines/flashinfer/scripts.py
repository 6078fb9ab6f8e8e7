"""A script of five lines that shows a breach without the harness: FlashInfer's functions, mocks for its kernels, one sample."""

import enum
import inspect
from typing import Any

import torch
from torch import Tensor

from harness.engines.flashinfer.captured.capture import Captured, given_to
from harness.engines.flashinfer.declared.schema import enumeration, hints_of

_DECORATED = "m.register_custom_op = m.register_fake_op = lambda *_, **__: lambda x: f.setdefault(x.__name__, x)"
_TUNER = "AutoTuner=mock.MagicMock(**{'get.return_value.choose_one.return_value': (None, -1)})"
# What a launcher returns, and the size in a fake that depends on the routing.
_LAUNCHED = "torch.from_dlpack = lambda _: torch.ones(1); torch.library.get_ctx = lambda: mock.Mock(new_dynamic_size=lambda: 30)"
# Of a module whose functions are declared as they stand: what loads kernels, and what asks which there are.
_LOADS = "n.startswith('gen_') or n.endswith('_cute') or n == '_use_cuda_norm'"
# Runners of Prims-TS, which return what the last lines of each forward in prims_ts/moe/runner.py do.
_RUNS = "mock.MagicMock(**{'return_value.forward': lambda *_, **a: [] if a['do_finalize'] else [torch.ones(1)] * 3})"
_PRIMS_TS = (
    f"**{{n: {_RUNS} for n in dir(m) if n.endswith('Runner')}}, **{{n: lambda *_, **__: (True, '') for n in dir(m) "
    f"if n.startswith('is_prims_ts_')}}, _get_moe_op=mock.MagicMock(), {_TUNER}"
)
_MACHINE = "device_support_pdl=lambda *_: False, get_compute_capability=lambda *_: (10, 0)"


def script(found: Captured, arguments: dict[str, Any], row: str) -> str:
    """Prints what the real function gives and what its fake gives, or raises; for a declaration, what torch says of it."""
    assert found.real is not None
    own = inspect.unwrap(found.real).__name__
    fake = inspect.unwrap(found.fake).__name__ if found.fake else ""
    lines = ["import importlib, inspect, torch, unittest.mock as mock"]
    lines += [f'm, f = importlib.import_module("{found.declared.module}"), {{}}; ']
    if found.declared.function:
        lines[1] += _DECORATED
    else:
        lines[1] += f"f |= {{n: getattr(m, n) for n in dir(m) if n in ({own!r}, {fake!r})}}"
    lines += [_mocked(found)]
    lines += [_arguments(found, arguments)] if arguments else []
    return "\n".join([*lines, _shown(found, own, fake, row)])


def _shown(found: Captured, own: str, fake: str, row: str) -> str:
    """The last line."""
    assert found.real is not None
    schema = f"torch.library.infer_schema(f[{own!r}], mutates_args={found.mutates!r})"
    if row == "declared schema":
        return f"torch._C.parse_schema('op' + {schema})"
    if row == "parameters":
        return f"for name in ({own!r}, {fake!r}): print(name, inspect.signature(f[name]))"
    declared = f"'declared as written:', {found.mutates!r}"
    if row == "mutation" and inspect.signature(found.real).return_annotation is None:
        given = (
            f"[n for n in inspect.signature(f[{own!r}]).parameters if n.endswith('out') and n not in {found.mutates!r}]"
        )
        return f"print('called outputs and not declared:', {given}, {declared})"
    if row in ("mutation", "alias"):
        given = f"[n for n, v in a.items() for t in torch.utils._pytree.tree_leaves(f[{own!r}](**a)) if v is t]"
        return f"print('arguments returned as outputs:', {given}, {declared})"
    leaves = "for t in torch.utils._pytree.tree_leaves(f[name](**a)) if isinstance(t, torch.Tensor)"
    show = f"[(tuple(t.shape), t.stride(), t.dtype, t.device.type) {leaves}]"
    return f"for name in ({own!r}, {fake!r}): print(name, {show})"


def _arguments(found: Captured, arguments: dict[str, Any]) -> str:
    assert found.real is not None
    parameters = inspect.signature(found.real).parameters
    needed = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    given = {name: value for name, value in arguments.items() if value is not None or name in needed}
    kinds = {name: enumeration(hint) for name, hint in hints_of(found.real).items()}
    told = [f"{name}={_source(value, kinds.get(name))}" for name, value in given.items()]
    return f"a = dict({', '.join(told)})"


def _mocked(found: Captured) -> str:
    """The JIT, the tuner and the questions to a GPU are mocked; then the function that declares the op is called."""
    module, function = found.declared.module, found.declared.function
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
