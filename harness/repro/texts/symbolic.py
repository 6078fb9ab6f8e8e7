"""Texts of a trace over symbolic sizes, and of what it shows."""

IMPORTS = (
    "import copy",
    "from torch._dispatch.python import enable_python_dispatcher",
    "from torch._subclasses.fake_tensor import FakeTensorMode",
    "from torch.fx.experimental.symbolic_shapes import ShapeEnv",
    "from torch.utils._python_dispatch import TorchDispatchMode",
)
TRACE = """\
def trace($axes):  # over symbols: whatever depends on a size is decided as at this one, and leaves a guard
    env = ShapeEnv(duck_shape=False, assume_static_by_default=False)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    mode.cache_enabled = False  # a result from the cache leaves no guard
    $symbols
    symbol = $axis.node.expr
    $built
    with mode, enable_python_dispatcher()$around:
        $statements
        layer(*batch)
    return symbol, [guard.expr for guard in env.guards]"""
SYMBOL = '$axis = mode.from_tensor(torch.empty($axis, device="meta"), static_shapes=False).shape[0]'
ALONE = """\
def alone($axes):  # the guard that leaves no other size up to $most
    symbol, guards = trace($axes)
    others = $others - {$axis}
    for guard in guards:
        others = {size for size in others if guard.free_symbols != {symbol} or guard.subs(symbol, size)}
        if not others:
            return str(guard).replace(str(symbol), "$axis")


found = [alone(*sizes) for sizes in $sizes]
assert not all(found), f"$kind: each size needs a trace of its own, {found}\""""
DIFFERS = """\
class Compare(TorchDispatchMode):  # traces the op beside its fake
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func._schema.name in $ops:
            key = next(filter(func.has_kernel_for_dispatch_key, $keys))
            real = func._op_dk(key, *args, **(kwargs or {}))
            one, two = ([*map(str, value.shape), *map(str, value.stride()), value.dtype] for value in (real, out))
            assert one == two, f"$kind: {func.name()} gives {one}, and its fake over symbols {two}"
        return out


for sizes in $sizes:
    trace(*sizes)"""
