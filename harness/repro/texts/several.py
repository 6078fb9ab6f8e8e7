"""Scenarios of several layers of one class, and of weights that are loaded, copied or swapped after a call."""

from harness.repro.texts.scenario import Scenario
from harness.repro.texts.surroundings import BATCH, CALL

_REPLACE = "from dataclasses import replace"
DOUBLED = """\
def doubled():  # other weights
    state = copy.deepcopy(layer.state_dict())
    for name, v in state.items():
        if torch.is_tensor(v) and v.dtype == torch.float8_e4m3fn:
            state[name] = (v.float() * 2).clamp(-448, 448).to(v.dtype)
        elif torch.is_tensor(v) and v.is_floating_point() and v.element_size() > 1:
            state[name] = v * 2
    return state


"""
# A layer that got the same weights before its first call says what is right.
FIRST = f"""\
{DOUBLED}batch, state = inputs(7, 0), doubled()
first = subject.build(case, device)
first.load_state_dict(state)
wanted = first(*batch).float()  # of a layer that got these weights before its first call
"""
_USED = "layer(*inputs(7, 1))\n"
LOADED = "layer.load_state_dict(copy.deepcopy(state))\nout = layer(*batch)"
_BEFORE = f"""\
{DOUBLED}layer.load_state_dict(doubled())
layer(*inputs(7, 1))
layer = subject.build(case, device)
{BATCH}
{CALL}"""
_ONE = "case = replace(case, experts=case.experts + 2)  # a size that no other layer has\nlayer = subject.build(case, device)"
_FREED = f"""\
{DOUBLED}{BATCH}
living, wanted = subject.build(case, device), oracle(batch)
living(*inputs(7, 1))
memory = {{name: tensor.data for name, tensor in (*layer.named_parameters(), *layer.named_buffers())}}
for tensor in memory.values():  # other weights
    tensor.copy_(tensor * 2 if tensor.is_floating_point() and tensor.element_size() > 1 else tensor.clone())
layer(*inputs(7, 1))
del layer
layer = subject.build(case, device)
for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):  # lies where the freed one lay
    tensor.data = memory[name].copy_(tensor)
out = layer(*batch)
$check
layer.load_state_dict(doubled())
out = living(*batch)"""
_BETWEEN = f"""\
{DOUBLED}{BATCH}
before = layer(*batch)
held, other = before.clone(), subject.build(case, device)
other.load_state_dict(doubled())
other(*inputs(7, 1))
assert torch.equal(before, held), "$kind: an output changed with a call of another layer"
out, wanted = layer(*batch), held.float()"""
_MANY = f"""\
layers = [subject.build(case, device) for _ in range(16)]
{BATCH}
wanted = oracle(batch)
for layer in layers:
    out = layer(*batch)
    $check"""
_EACH = """\
batch = inputs(7, 0)
plain, own, ignored = layer(*batch), layer.state_dict(), []
for name, value in own.items():
    if value.is_floating_point() and value.element_size() > 1 and value.any():
        other = subject.build(case, device)
        other.load_state_dict(own | {name: value * 2})
        if torch.equal(other(*batch), plain):
            ignored.append(name)
assert not ignored, f"$kind: other values of {ignored}, loaded before any call, change nothing\""""
_LATER = f"""\
{DOUBLED}state = copy.deepcopy(layer.state_dict())
for name, value in doubled().items():
    if value.dim() and len(value) > 1:  # other values in the later half of each weight
        state[name][len(value) // 2 :] = value[len(value) // 2 :]
batch, reference = inputs(7, 0), subject.build(case, device)
for weights in (doubled(), state):
    reference.load_state_dict(weights)
    wanted = reference(*batch).float()  # of a layer that got these weights after others
layer(*batch)
{LOADED}"""
_PARTS = f"""\
{FIRST}names, half = [*state], len(state) // 2
for parts in ((names[:half], names[half:]), (names[half:], names[:half])):
    one = subject.build(case, device)
    for part in parts:
        one.load_state_dict(copy.deepcopy({{name: state[name] for name in part}}), strict=False)
    out = one(*batch)
    $check"""
_SWAPPED = """\
for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
    if name in state:
        tensor.data = state[name].clone()
out = layer(*batch)"""
_WRITTEN = """\
for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
    tensor.data.copy_(dict((*first.named_parameters(), *first.named_buffers()))[name])
out = layer(*batch)"""
_RESTORED = f"""\
batch, state = inputs(7, 0), layer.state_dict()
{LOADED}
wanted = oracle(batch)"""
_COPIED = f"""\
original, layer = layer, copy.deepcopy(layer)
{LOADED}
$check
out, wanted = original(*batch), oracle(batch)  # which has its own weights"""
_SAVED = f"""\
{_USED}restored = subject.build(case, device)
restored.load_state_dict(copy.deepcopy(layer.state_dict()))
{BATCH}
out, wanted = restored(*batch), oracle(batch)"""
_OWN = (
    f"{DOUBLED}{_USED}state, batch = copy.deepcopy(layer.state_dict()), inputs(7, 0)\n"
    f"layer.load_state_dict(doubled())\n{LOADED}\nwanted = oracle(batch)"
)
_EVAL = f"""\
for _ in range(2):
    layer.eval()
    layer(*inputs(7, 1))
{BATCH}
{CALL}
$check
layer.train().eval()
{CALL}"""
_RANKS = """\
case = replace(case, tp=max(case.tp, 2), rank=1)
other = subject.build(case, device)
case = replace(case, rank=0)
layer = subject.build(case, device)"""
_OTHERS = f"batch, state = inputs(7, 0), other.state_dict()\nwanted = other(*batch).float()\n{LOADED}"

SCENARIOS = {
    "other=before": Scenario(_BEFORE, (_REPLACE,), build=_ONE),
    "other=between": Scenario(_BETWEEN, (_REPLACE,), build=_ONE),
    "other=16": Scenario(_MANY, compares=False),
    "other=freed": Scenario(_FREED),
    "weights=reloaded": Scenario(f"{FIRST}layer(*batch)\n{LOADED}"),
    "weights=loaded-again": Scenario(_OWN),
    "weights=saved-after-use": Scenario(_SAVED),
    "weights=deepcopy": Scenario(f"{FIRST}{_USED}{_COPIED}"),
    "weights=data-swapped": Scenario(f"{FIRST}layer(*batch)\n{_SWAPPED}"),
    "weights=written-in-place": Scenario(f"{FIRST}layer(*batch)\n{_WRITTEN}"),
    "weights=assigned": Scenario(f"{FIRST}{_USED}{LOADED.replace('state)', 'state), assign=True')}"),
    "weights=each": Scenario(_EACH, compares=False),
    "weights=later-rows": Scenario(_LATER),
    "weights=in-parts": Scenario(_PARTS, compares=False),
    "weights=restored": Scenario(_RESTORED),
    "weights=eval": Scenario(_EVAL),
    "weights=from-another": Scenario(_OTHERS, (_REPLACE,), build=_RANKS),
}
