"""Texts of a trace over symbolic sizes, and of what it shows."""

IMPORTS = (
    "import copy",
    "import math",
    "from torch._dispatch.python import enable_python_dispatcher",
    "from torch._subclasses.fake_tensor import FakeTensorMode",
    "from torch.fx.experimental.symbolic_shapes import ShapeEnv",
    "from torch.utils._python_dispatch import TorchDispatchMode",
    "from torch.utils._sympy.printers import PythonPrinter",
)
TRACE = """\
def trace($axes):  # over symbols: whatever depends on a size is decided as at this one, and leaves a guard
    env = ShapeEnv(duck_shape=False, assume_static_by_default=False)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    mode.cache_enabled = False  # a result from the cache leaves no guard
    $symbols
    $built
    with mode, enable_python_dispatcher()$around:
        $statements
        layer(*batch)
"""
RETURNED = "    return $axis.node._expr, [guard.expr for guard in env.guards]\n\n\n"
SYMBOL = '$axis = mode.from_tensor(torch.empty($axis, device="meta"), static_shapes=False).shape[0]'
ALONE = """\
def alone($axes):  # the guard that leaves no other size up to $most
    symbol, guards = trace($axes)
    others = $others - {$axis}
    for guard in (PythonPrinter().doprint(guard) for guard in guards if guard.free_symbols == {symbol}):
        others = set(filter(eval(f"lambda {symbol}: {guard}", {"math": math}), others))
        if not others:
            return guard.replace(str(symbol), "$axis")


found = [alone(*sizes) for sizes in $sizes]
assert not all(found), f"$kind: each size needs a trace of its own, {found}\""""
DIFFERS = """\
def form(value):
    return value.dtype, *value.shape, *(step for size, step in zip(value.shape, value.stride()) if size != 1)


class Compare(TorchDispatchMode):  # traces the op beside its fake
    keys = torch._C.DispatchKey.CPU, torch._C.DispatchKey.CompositeExplicitAutograd

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func._schema.name in $ops:
            real = func._op_dk(next(filter(func.has_kernel_for_dispatch_key, self.keys)), *args, **(kwargs or {}))
            assert form(real) == form(out), f"$kind: {func.name()} gives {form(real)}, its fake over symbols {form(out)}"
        return out


trace($first)"""
