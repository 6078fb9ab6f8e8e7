"""Scenarios of the surroundings of a call: torch's modes, threads, what came before, the process, memory."""

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
_USUAL = """\
for tokens in (7, 264):
    batch = inputs(tokens, 0)
    out, wanted = layer(*batch), oracle(batch)
    $check"""
_DTYPE = """\
for tokens in (7, 264):
    batch = inputs(tokens, 0)
    torch.set_default_dtype(torch.bfloat16)
    out = layer(*batch)
    torch.set_default_dtype(torch.float32)
    wanted = oracle(batch)
    $check"""
_AUTOCAST = """\
for tokens in (7, 264):
    batch = inputs(tokens, 0)
    with torch.autocast(batch[0].device.type, dtype=torch.bfloat16):
        out = layer(*batch)
    wanted = oracle(batch)
    $check"""
_INFERENCE = f"""\
with torch.inference_mode(), suppress(Exception):
    layer(*inputs(7, 1))
{BATCH}
{CALL}"""
_ERRORS = f"""\
{BATCH}
hidden, *others = inputs(7, 0)
for wrong in ((hidden, *inputs(9, 0)[1:]), (torch.cat((hidden, hidden[:, :16]), 1), *others)):
    with suppress(Exception):  # inputs that fit no layer
        layer(*wrong)
{CALL}"""
# How a script reads what a layer may have changed, by the words of the finding.
_STATES = {
    "grad mode": "torch.is_grad_enabled()",
    "default dtype": "torch.get_default_dtype()",
    "default device": "torch.get_default_device()",
    "number of threads": "torch.get_num_threads()",
    "deterministic mode": "torch.are_deterministic_algorithms_enabled()",
    "float32 matmul precision": "torch.get_float32_matmul_precision()",
    "oneDNN switch": "torch.backends.mkldnn.enabled",
    "flush-denormal mode": "sys.float_info.min * 0.5",
    "autograd's anomaly mode": "torch.is_anomaly_enabled()",
    "CPU autocast": 'torch.is_autocast_enabled("cpu")',
    "Python's random generator": "random.getstate()",
    "random generator": "torch.get_rng_state().tolist()",
    "Python's warnings filters": "list(warnings.filters)",
    "Python's garbage collector": "gc.isenabled()",
    "Python's recursion limit": "sys.getrecursionlimit()",
    "sys.excepthook": "sys.excepthook",
    "the handlers of signals": "signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)",
    "the working directory": "os.getcwd()",
}
_VARIABLE = "the environment variable "


def _reads(what: str) -> str:
    """An expression of what the finding says was changed; empty where the words are not known."""
    names = what.partition(" changed ")[2].split(", ")
    reads = [f'os.environ.get("{name.removeprefix(_VARIABLE)}")' for name in names if name.startswith(_VARIABLE)]
    reads += [_STATES[name] for name in names if name in _STATES]
    return ", ".join([*reads, *(name for name in names if name.startswith("torch."))])


def process(what: str, build: bool) -> Scenario | None:
    """The scenario of a finding of changed state: around the build, or around two calls; None where its words are not known."""
    reads = _reads(what)
    if not reads:
        return None
    threads = "torch.set_num_threads(3)\n" if "get_num_threads" in reads else ""
    state = f"{threads}def state():\n    return [{reads}]\n\n\nbefore = state()\n"
    made = 'assert state() == before, f"$kind: {before} before the $doing, {state()} after"'
    imports: tuple[str, ...] = tuple(f"import {name}" for name in ("gc", "os", "random", "signal", "sys", "warnings"))
    if "torch._" in reads:
        imports += ("import torch._dynamo", "import torch._inductor.config")
    if build:
        layer = f"{state}layer = subject.build(case, device)\n{made.replace('$doing', 'build')}"
        return Scenario("", imports, build=layer, compares=False)
    calls = "batch = inputs(7, 0)\n" + state.replace(
        "before = state()", "before = state()\nlayer(*batch)\nlayer(*batch)"
    )
    return Scenario(f"{calls}{made.replace('$doing', 'calls')}", imports, compares=False)


SCENARIOS = {
    "torch=not-deterministic": Scenario(_USUAL, compares=False),
    "torch=default-bfloat16": Scenario(_DTYPE, compares=False),
    "torch=autocast": Scenario(_AUTOCAST, compares=False),
    "thread=other": Scenario(_THREAD, ("from concurrent.futures import ThreadPoolExecutor",)),
    "thread=3": Scenario(f"torch.set_num_threads(3)\n{BATCH}\n{CALL}"),
    "before=inference-mode": Scenario(_INFERENCE, (_SUPPRESS,)),
    "before=errors": Scenario(_ERRORS, (_SUPPRESS,)),
}
