"""Scenarios of what a layer keeps from call to call, and of compiled layers."""

from harness.repro.texts.graphs import ADDRESSES
from harness.repro.texts.scenario import Scenario
from harness.repro.texts.several import SCENARIOS as SEVERAL
from harness.repro.texts.surroundings import BATCH
from harness.repro.texts.variations import SLICE

_REFILLED = f"""\
{BATCH}
layer(*batch)
other = inputs(7, 3)
inside = slice(1, -1), slice(1, -1, 2)
for refill in (  # other contents in the same memory, and then in one part alone
    lambda: zip(batch, inputs(7, 1)),
    lambda: zip(batch, inputs(7, 2)),
    lambda: [(batch[0][-1], other[0][-1])],
    lambda: [(batch[0][inside], other[0][inside])],
    lambda: [(batch[0], batch[0].flip(1))],
    lambda: [(batch[0], -batch[0])],
    lambda: zip(batch[1:], other[1:]),
    lambda: [(batch[-1], inputs(7, 4)[-1])],
):
    for old, new in refill():
        if old is not None and new is not None:
            old.copy_(new)
    out, wanted = layer(*batch), oracle(batch)
    $check
batch = inputs(264, 0)
for seed in (0, 1):  # and in a batch of many tokens
    for old, new in zip(batch, inputs(264, seed)):
        if old is not None and new is not None:
            old.copy_(new)
    out, wanted = layer(*batch), oracle(batch)
    $check"""
_MADE_ANEW = """\
for seed in range(12):  # the memory of one batch is free when the next is made
    batch = inputs(7, seed)
    out, wanted = layer(*batch), oracle(batch)
    $check
    del batch, out"""
_WRITTEN = f"{BATCH}\nlayer(*batch).fill_(7)  # the caller may write to it\nout, wanted = layer(*batch), oracle(batch)"
_PASSED_IN = """\
batch = inputs(7, 1)
given = layer(*inputs(7, 0)).copy_(batch[0])  # the caller writes to the output, and passes it in
out, wanted = layer(given, *batch[1:]), oracle(batch)"""
_REORDERED = f"""\
{BATCH}
layer(*batch)
batch = [value if value is None else value.roll(1, 0) for value in batch]  # the same rows, the last one first
out, wanted = layer(*batch), oracle(batch)"""
_MANY = """\
made = []
for number in range(64):
    batch = inputs(7, (number + number // 16) % 16)
    out, wanted = layer(*batch), oracle(batch)
    $check
    made.append((batch, out, out.clone()))
assert all(torch.equal(now, copy) for _, now, copy in made), "$kind: an output changed with a later call\""""
_ALIASES = """\
made = []
for seed in range(8):
    batch = inputs(7, seed)
    out, wanted = layer(*batch), oracle(batch)
    $check
    made.append((out.detach(), out.clone()))
    del out  # its caller has only an alias, as a slice is under inference mode
assert all(torch.equal(now, copy) for now, copy in made), "$kind: an output changed with a later call\""""
_OF_A_SIZE = """\
batch = inputs(97, 0)
wanted = oracle(batch)
for _ in range(4):
    out = layer(*batch)
    $check"""
_TRACED = """\
with suppress(Exception), FakeTensorMode(allow_non_fake_inputs=True) as mode:
    layer(*map(mode.from_tensor, inputs(7, 1)))  # a trace before the first real call
batch = inputs(7, 0)
for one in (layer, subject.build(case, device)):
    out, wanted = one(*batch), oracle(batch)
    assert not isinstance(out, FakeTensor), "$kind: the layer returned a FakeTensor"
    $check"""
_GRAPHS = """\
for size in (8, 24):  # from the smallest to the largest
    layer(*inputs(size, 2))
    with Reads() as graph:
        out = layer(*inputs(size, 0))
for tokens in range(1, 140):  # other batch sizes
    layer(*inputs(tokens, 0))
graph.check()"""
_BACKEND = """\
graphs = []


def backend(module, given):
    graphs.append(module)
    return module.forward


"""
_OF_CALLS = f"""\
{_BACKEND}compiled = torch.compile(layer, fullgraph=True, dynamic=False, backend=backend)
for seed in range(6):
    compiled(*inputs(7, seed))
assert len(graphs) == 1, f"$kind: {{len(graphs)}} graphs for six calls of one layer\""""
_OF_LAYERS = f"""\
{_BACKEND}for seed in range(4):
    one = subject.build(case, device)
    torch.compile(one, fullgraph=True, dynamic=False, backend=backend)(*inputs(7, seed))
assert len(graphs) == 1, f"$kind: {{len(graphs)}} graphs for four layers of one class\""""
_AFTER_EAGER = f"""\
{_BACKEND}layer(*inputs(7, 1))
compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=backend)
for tokens in (5, 12):
    batch = inputs(tokens, 0)
    out, wanted = compiled(*batch), oracle(batch)
    $check
assert len(graphs) == 1, f"$kind: {{len(graphs)}} graphs for two sizes after an eager call of a third\""""
_COMPILED = "compiled = torch.compile(layer, fullgraph=True, dynamic=False, backend='eager')\n"
_RIGHT = "out, wanted = compiled(*batch), oracle(batch)"
_NONE = f"{_COMPILED}batch = inputs(0, 0)\nout = compiled(*batch)\nassert out.shape == batch[0].shape, f'$kind: {{out.shape}}'"
_FAKES = ("from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode", "from contextlib import suppress")


def _compiled_after(text: str) -> str:
    """A scenario's text with the layer compiled before it is used."""
    head, _, rest = text.partition("\nlayer(*batch)\n")
    return f"{head}\n{_COMPILED}compiled(*batch)\n{rest.replace('out = layer(', 'out = compiled(')}"


SCENARIOS = {
    "inputs=refilled": Scenario(_REFILLED, compares=False),
    "inputs=made-again": Scenario(_MADE_ANEW, compares=False),
    "inputs=reordered": Scenario(_REORDERED),
    "written=output": Scenario(_WRITTEN),
    "written=passed-in": Scenario(_PASSED_IN),
    "calls=64": Scenario(_MANY, compares=False),
    "calls=aliases": Scenario(_ALIASES, compares=False),
    "calls=97-tokens": Scenario(_OF_A_SIZE, compares=False),
    "traced=first": Scenario(_TRACED, _FAKES, compares=False),
    "graphs=smallest-first": Scenario(
        f"{ADDRESSES.text}\n\n\n{_GRAPHS}", ADDRESSES.imports, compares=False, stands_in=ADDRESSES.stands_in
    ),
    "graphs-of=calls": Scenario(_OF_CALLS, compares=False),
    "graphs-of=layers": Scenario(_OF_LAYERS, compares=False),
    "compiled=reloaded": Scenario(_compiled_after(SEVERAL["weights=reloaded"].text)),
    "compiled=after-eager": Scenario(_AFTER_EAGER, compares=False),
    "compiled=1-token": Scenario(f"{_COMPILED}batch = inputs(1, 0)\n{_RIGHT}"),
    "compiled=201-tokens": Scenario(f"{_COMPILED}batch = inputs(201, 1)\n{_RIGHT}"),
    "compiled=256-tokens": Scenario(f"{_COMPILED}batch = inputs(256, 0)\n{_RIGHT}"),
    "compiled=4100-tokens": Scenario(
        f"{_COMPILED.replace('dynamic=False', 'dynamic=True')}compiled(*inputs(7, 0))\nbatch = inputs(4100, 0)\n{_RIGHT}"
    ),
    "compiled=before-eager": Scenario(
        "torch.compile(layer, fullgraph=True, dynamic=False, backend='eager')(*inputs(7, 0))\nbatch = inputs(7, 1)\n"
        "out, wanted = layer(*batch), oracle(batch)"
    ),
    "compiled=0-tokens": Scenario(_NONE, compares=False),
    "compiled=slice": Scenario(f"{BATCH}\nwanted = oracle(batch)\n{SLICE}\n{_COMPILED}out = compiled(*batch)"),
    "compiled=inference-mode": Scenario(
        f"{_COMPILED}{BATCH}\nwith torch.inference_mode():\n    out = compiled(*batch)\nwanted = oracle(batch)"
    ),
}
