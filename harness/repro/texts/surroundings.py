"""Scenarios of the surroundings of a call: torch's modes, threads, what came before."""

from harness.repro.texts.scenario import Scenario

_SUPPRESS = "from contextlib import suppress"
BATCH = "batch = inputs(7, 0)"
CALL = "out, wanted = layer(*batch), oracle(batch)"

_THREAD = """\
batch = inputs(7, 0)


def call():
    with torch.no_grad():
        return layer(*batch)


with ThreadPoolExecutor(1) as pool:
    out, wanted = pool.submit(call).result(), oracle(batch)"""
_CROWD = """\
large = inputs(264, 0)
for value in (value for value in large[1:] if value is not None):
    value[4:] = value[4]  # these tokens choose the same experts
batches = [[value if value is None else value[:size] for value in large] for size in (264, 263, 262, 261)]
"""
_USUAL = f"""\
{_CROWD}for batch in (inputs(7, 0), *batches):
    out, wanted = layer(*batch), oracle(batch)
    $check"""
_DTYPE = f"""\
{_CROWD}for batch in (inputs(7, 0), *batches):
    torch.set_default_dtype(torch.bfloat16)
    out = layer(*batch)
    torch.set_default_dtype(torch.float32)
    wanted = oracle(batch)
    $check"""
_HIGH = f"""\
{_CROWD}for precision, batch in (("high", inputs(7, 0)), ("medium", inputs(7, 0)), *(("high", batch) for batch in batches)):
    torch.set_float32_matmul_precision(precision)
    out = layer(*batch)
    torch.set_float32_matmul_precision("highest")
    wanted = oracle(batch)
    $check"""
_INFERENCE_TENSORS = """\
batch = inputs(7, 0)
with torch.inference_mode():
    out = layer(*[value.clone() for value in batch])
wanted = oracle(batch)"""
_AUTOCAST = f"""\
{_CROWD}for batch in (inputs(7, 0), *batches):
    with torch.autocast(batch[0].device.type, dtype=torch.bfloat16):
        out = layer(*batch)
    wanted = oracle(batch)
    $check"""
_INFERENCE = f"""\
with torch.inference_mode(), suppress(Exception):
    layer(*inputs(7, 1))
{BATCH}
{CALL}"""
_AFTER_AUTOCAST = f"""\
{BATCH}
with torch.autocast(batch[0].device.type, dtype=torch.bfloat16), suppress(Exception):
    layer(*inputs(7, 1))
{CALL}"""
_ERRORS = f"""\
{BATCH}
hidden, *others = inputs(7, 0)
for wrong in ((hidden, *inputs(9, 0)[1:]), (torch.cat((hidden, hidden[:, :16]), 1), *others)):
    with suppress(Exception):  # inputs that fit no layer
        layer(*wrong)
{CALL}"""

SCENARIOS = {
    "torch=not-deterministic": Scenario(_USUAL, compares=False),
    "torch=default-bfloat16": Scenario(_DTYPE, compares=False),
    "torch=autocast": Scenario(_AUTOCAST, compares=False),
    "torch=matmul-high": Scenario(_HIGH, compares=False),
    "torch=inference-tensors": Scenario(_INFERENCE_TENSORS),
    "thread=other": Scenario(_THREAD, ("from concurrent.futures import ThreadPoolExecutor",)),
    "thread=3": Scenario(f"torch.set_num_threads(3)\n{BATCH}\n{CALL}"),
    "before=inference-mode": Scenario(_INFERENCE, (_SUPPRESS,)),
    "before=autocast": Scenario(_AFTER_AUTOCAST, (_SUPPRESS,)),
    "before=errors": Scenario(_ERRORS, (_SUPPRESS,)),
}
