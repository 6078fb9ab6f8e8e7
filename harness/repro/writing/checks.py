"""What a script checks, for each kind of finding: text of Python, ``$kind``, ``$op`` and ``$width`` to be filled in.

``layer``, ``batch`` (the inputs of the last call), ``out`` (its output), ``inputs`` and ``oracle`` are defined before. A
check ends in an assertion whose text begins with the kind of the finding.
"""

from harness.repro.about import About
from harness.repro.texts.check import Check
from harness.repro.texts.fakes import check_of_fake
from harness.repro.texts.ops import ALIASES, POISON, SEEN, STATE, VIEWS, WRITES
from harness.repro.texts.values import VALUES

__all__ = ["Check", "check_of"]

_MODE = "from torch.utils._python_dispatch import TorchDispatchMode"
_LEAVES = "from torch.utils._pytree import tree_leaves"
_OF_OPS = {"mutated-input": WRITES, "undeclared-alias": ALIASES}

_FINITE = 'assert out.isfinite().all(), f"$kind: {int((~out.isfinite()).any(0).sum())} columns hold NaN or infinity"'
_COUNT = '''\
count = sum(name == "$collective" for name, _ in ops)
assert count == $reductions, f"$kind: {count} all-reduces in one forward, expected $reductions"'''

_SHAPE = (
    'assert out.shape == batch[0].shape, f"$kind: the output is {list(out.shape)}, expected {list(batch[0].shape)}"'
)
_DENSE = 'assert out.is_contiguous(), f"$kind: the output is {list(out.shape)} with stride {list(out.stride())}"'
_DTYPE = 'assert out.dtype == batch[0].dtype, f"$kind: the output is {out.dtype}, expected {batch[0].dtype}"'
_DEVICE = 'assert out.device == batch[0].device, f"$kind: the output is on {out.device}, expected {batch[0].device}"'

_FORMS = ("wrong-shape", "strided-output", "wrong-dtype", "wrong-device", "not-a-tensor")
CHECKS = {
    "wrong-shape": Check(_SHAPE),
    "strided-output": Check(_DENSE),
    "wrong-dtype": Check(_DTYPE),
    "wrong-device": Check(_DEVICE),
    "not-a-tensor": Check('assert isinstance(out, torch.Tensor), f"$kind: the layer returns a {type(out).__name__}"'),
    "uninitialised": Check(
        _FINITE, "torch.use_deterministic_algorithms(True, warn_only=True)  # fills fresh memory with NaN", ahead=True
    ),
    "padding-leaks": Check(_FINITE, POISON, "Poison()", (_MODE,)),
    "mutated-input": Check(
        'assert all(map(torch.equal, batch, before)), "$kind: the layer changed its inputs"',
        "before = [value.clone() for value in batch]",
    ),
    "untrue-alias": Check("", VIEWS, "Watch()", (_MODE, _LEAVES)),
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
    "sum-unused": Check(VALUES),
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


def check_of_form(about: About) -> str:
    """The line that checks the form of ``out``; empty for a finding of anything else."""
    finding = about.symptom.finding
    return CHECKS[finding.kind].after if finding.observer == "widths" and finding.kind in _FORMS else ""


def check_of(about: About) -> Check:
    """The check of the symptom; none where the layer raises by itself, and that of values for a kind without its own."""
    finding, error = about.symptom.finding, about.symptom.error
    if finding.observer == "contract" and finding.call != "zero tokens" and about.mode.family != "compiled":
        return check_of_fake(finding.what)
    if about.mode.family == "varied" and finding.observer == "second call":
        return Check(VALUES)
    if error:
        return Check("")
    if finding.kind in _OF_OPS and "::" in finding.what:
        return Check("", _OF_OPS[finding.kind], "Watch()", (_MODE, _LEAVES))
    if about.at_capture and finding.kind in ("wrong-values", "stale-replay"):
        return Check(VALUES)
    return CHECKS.get(finding.kind) or Check(VALUES)
