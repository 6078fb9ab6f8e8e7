"""What a script checks, for each kind of finding: text of Python, ``$kind``, ``$op`` and ``$width`` to be filled in.

``layer``, ``batch`` (the inputs of the last call), ``out`` (its output), ``inputs`` and ``oracle`` are defined before. A
check ends in an assertion whose text begins with the kind of the finding.
"""

from dataclasses import dataclass

from harness.execution.difference import TOLERANCE


@dataclass(frozen=True, slots=True)
class Check:
    """Text before the last call, the context manager around it, and text after it.

    ``all_calls``: it shows only after the calls before. ``imports`` are lines. ``twice`` says that it compares the outputs
    of two calls: ``first`` is that of the first call.
    """

    after: str
    before: str = ""
    around: str = ""
    imports: tuple[str, ...] = ()
    all_calls: bool = False
    twice: bool = False


_MODE = "from torch.utils._python_dispatch import TorchDispatchMode"
_LEAVES = "from torch.utils._pytree import tree_leaves, tree_map_only"
_FAKES = "from torch._subclasses.fake_tensor import FakeTensorMode"

VALUES = f'''\
wanted = oracle(batch)
off = ((out.float() - wanted).abs().max() / wanted.square().mean().sqrt()).item()
assert off < {TOLERANCE}, f"$kind: the output is off by {{off:.2g}} of the oracle's rms, tolerance {TOLERANCE}"'''

# A dispatch mode sees every op of a call.
SEEN = """\
class Seen(TorchDispatchMode):  # the ops of a call, in turn, each with its first tensor
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        ops.append((func.name(), args[0] if args else None))
        return func(*args, **(kwargs or {}))


ops = []"""

POISON = """\
class Poison(TorchDispatchMode):  # a kernel may leave anything in the padded columns
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.name() == "$op":
            out[:, $width:] = torch.nan
        return out"""

COMPARE = """\
def form(value):
    steps = [step for size, step in zip(value.shape, value.stride()) if size != 1]
    return list(value.shape), steps, value.dtype, value.device.type, value.storage_offset()


class Compare(TorchDispatchMode):  # calls the fake of an op beside the op
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        given = tree_map_only(torch.Tensor, mode.from_tensor, args)
        before = [value.untyped_storage()._cdata for value in tree_leaves(given) if isinstance(value, torch.Tensor)]
        out = func(*args, **(kwargs or {}))
        if func.name().startswith("$name"):
            with mode:
                fake = func(*given, **(kwargs or {}))
            real, faked = ([form(value) for value in tree_leaves(one)] for one in (out, fake))
            assert real == faked, f"$kind: $name gives {real}, its fake {faked}"
            shared = any(value.untyped_storage()._cdata in before for value in tree_leaves(fake))
            assert not shared, "$kind: the fake of $name returns memory of its input, and the op does not"
        return out"""

WRITES = """\
class Watch(TorchDispatchMode):  # compares the arguments of an op before and after it
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [value for value in tree_leaves(args) if isinstance(value, torch.Tensor)]
        before = [value.clone() for value in given]
        out = func(*args, **(kwargs or {}))
        if func.name().startswith("$name"):
            same = [torch.equal(*pair) for pair in zip(given, before)]
            assert all(same), f"mutated-input: $name writes to its tensor {same.index(False)}, undeclared"
            taken = [value.untyped_storage().data_ptr() for value in given]
            shared = [value.untyped_storage().data_ptr() in taken for value in tree_leaves(out)]
            assert not any(shared), "undeclared-alias: $name returns memory of its argument, undeclared"
        return out"""

STATE = """\
def state():
    modules = layer.modules() if isinstance(layer, torch.nn.Module) else [layer]
    parts = [part for one in modules for part in (vars(one), *(vars(one).get(k, {}) for k in ("_buffers", "_parameters")))]
    return {name: value for part in parts for name, value in part.items() if isinstance(value, torch.Tensor)}"""

_FINITE = 'assert out.isfinite().all(), f"$kind: {int((~out.isfinite()).any(0).sum())} columns hold NaN or infinity"'
_COUNT = '''\
count = sum(name == "$collective" for name, _ in ops)
assert count == $reductions, f"$kind: {count} all-reduces in one forward, expected $reductions"'''

_SHAPE = '''\
wanted = batch[0].shape
assert out.shape == wanted, f"$kind: the output is {list(out.shape)}, expected {list(wanted)}"'''
_DENSE = 'assert out.is_contiguous(), f"$kind: the output is {list(out.shape)} with stride {list(out.stride())}"'
_DTYPE = 'assert out.dtype == batch[0].dtype, f"$kind: the output is {out.dtype}, expected {batch[0].dtype}"'
_DEVICE = 'assert out.device == batch[0].device, f"$kind: the output is on {out.device}, expected {batch[0].device}"'

CHECKS = {
    "wrong-shape": Check(_SHAPE),
    "strided-output": Check(_DENSE),
    "wrong-dtype": Check(_DTYPE),
    "wrong-device": Check(_DEVICE),
    "not-a-tensor": Check('assert isinstance(out, torch.Tensor), f"$kind: the layer returns a {type(out).__name__}"'),
    "uninitialised": Check(
        _FINITE, "torch.use_deterministic_algorithms(True, warn_only=True)  # fills fresh memory with NaN"
    ),
    "padding-leaks": Check(_FINITE, POISON, "Poison()", (_MODE,)),
    "fake-differs": Check("", COMPARE, "Compare()", (_MODE, _LEAVES, _FAKES)),
    "mutated-input": Check(
        'assert all(map(torch.equal, batch, before)), "$kind: the layer changed its inputs"',
        "before = [value.clone() for value in batch]",
    ),
    "op-writes": Check("", WRITES, "Watch()", (_MODE, "from torch.utils._pytree import tree_leaves")),
    "mutated-state": Check(
        "changed = [name for name, value in state().items() if not torch.equal(value, before[name])]\n"
        'assert not changed, f"$kind: the call changed {changed}"',
        f"{STATE}\n\n\nbefore = {{name: value.clone() for name, value in state().items()}}",
    ),
    "shared-output": Check(
        "owned = {value.untyped_storage().data_ptr() for value in (*state().values(), *batch)}\n"
        'assert out.untyped_storage().data_ptr() not in owned, "$kind: the output lies in memory of the layer"',
        STATE,
    ),
    "output-overwritten": Check(
        'assert torch.equal(first, copy), "$kind: the output of the first call changed with the last one"', twice=True
    ),
    "not-repeatable": Check(
        'assert torch.equal(out, copy), f"$kind: the same inputs give another output, off by {(out - copy).abs().max():.2g}"',
        twice=True,
        all_calls=True,
    ),
    "global-state": Check(
        'assert torch.equal(before, torch.get_rng_state()), "$kind: the call changed the random generator"',
        "before = torch.get_rng_state()",
    ),
    "never-dispatched": Check(
        'assert "$op" in [name for name, _ in ops], "$kind: $op did not run"', SEEN, "Seen()", (_MODE,)
    ),
    "unused": Check(
        'assert out.isnan().any(), "$kind: the output does not depend on $op"',
        POISON.replace("$width", "0").replace("may leave anything in the padded columns", "gives NaN"),
        "Poison()",
        (_MODE,),
    ),
    "collective-count": Check(_COUNT, SEEN, "Seen()", (_MODE,)),
    "reduced-beside": Check(VALUES),
    "not-contiguous": Check(
        'taken = [value.stride() for name, value in ops if name == "$collective" and not value.is_contiguous()]\n'
        'assert not taken, f"$kind: the all-reduce is given a tensor of stride {taken}, which is not contiguous"',
        SEEN,
        "Seen()",
        (_MODE,),
    ),
    "specialised": Check(
        "counts, guards = (3, 63, 64, 65, 4096), [guard.expr for guard in env.guards]\n"
        "at = [n for n in counts for guard in guards if guard.subs(dict.fromkeys(guard.free_symbols, n)) == False]\n"
        'assert not env.replacements and not at, f"$kind: {guards or env.replacements}"',
    ),
    "recompiled": Check(
        'count = torch._dynamo.utils.counters["stats"]["unique_graphs"]\n'
        'assert count == 1, f"$kind: {count} graphs were compiled for the same kind of inputs"',
        all_calls=True,
    ),
    "padding-tokens-leak": Check(
        "out = out[: $tokens]\n" + _FINITE,
        "batch[0][$tokens:] = torch.nan  # the rows that fill the batch up to the size of its graph",
    ),
    "stale": Check(VALUES, twice=True),
}
"""By kind. A kind that is not here is one of values, if the layer returned, or its exception is the symptom."""


def check_for(kind: str) -> Check:
    """The check of a finding's kind; that of values where the kind has none of its own."""
    return CHECKS.get(kind) or Check(VALUES)
