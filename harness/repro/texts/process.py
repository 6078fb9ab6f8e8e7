"""The scenario of changed state: of torch, of Python and of the process, around a build or around calls."""

from harness.repro.texts.scenario import Scenario

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
    "numpy's random generator": '__import__("numpy").random.get_state()[1].tobytes()',
    "random generator": "torch.get_rng_state().tolist()",
    "Python's warnings filters": "list(warnings.filters)",
    "Python's garbage collector": "gc.isenabled()",
    "Python's recursion limit": "sys.getrecursionlimit()",
    "sys.excepthook": "sys.excepthook",
    "the handlers of signals": "signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)",
    "the working directory": "os.getcwd()",
    "Python's switch interval of threads": "sys.getswitchinterval()",
    "Python's built-in functions": "hash(frozenset((name, id(value)) for name, value in vars(builtins).items()))",
    "Python's trace function": "sys.gettrace()",
    "Python's profile function": "sys.getprofile()",
    "Python's other hooks": "sys.unraisablehook, sys.displayhook, threading.excepthook",
    "Python's standard streams": "sys.stdin, sys.stdout, sys.stderr",
    "the timers of signals": "[signal.getitimer(timer)[0] > 0 for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL)]",
    "the umask": "[os.umask(mask := os.umask(0o077)), mask][1]",
    "the process's resource limits": "[resource.getrlimit(getattr(resource, name)) for name in dir(resource) if 'RLIMIT_' in name]",
    "the locale": "locale.setlocale(locale.LC_ALL)",
    "the default timeout of sockets": "socket.getdefaulttimeout()",
    "the levels of Python's logging": "logging.root.level, logging.root.manager.disable",
    "how Python starts processes": "multiprocessing.get_start_method()",
    "the cores that the process runs on": "os.sched_getaffinity(0)",
    "hooks of all modules": "[list(one) for name, one in vars(torch.nn.modules.module).items() if '_global_' in name and one]",
    "torch's print options": "vars(torch._tensor_str.PRINT_OPTS).copy()",
    "the dtype of CPU autocast": 'torch.get_autocast_dtype("cpu")',
    "autocast's cache": "torch.is_autocast_cache_enabled()",
    "autograd's use of threads": "torch._C._is_multithreading_enabled()",
    "torch's switch for repeated warnings": "torch.is_warn_always_enabled()",
    "how processes share tensors": "torch.multiprocessing.get_sharing_strategy()",
}
_MODULES = ["builtins", "gc", "locale", "logging", "multiprocessing", "os", "random", "resource"]
_MODULES += ["signal", "socket", "sys", "threading", "warnings"]
_VARIABLE, _FUNCTION = "the environment variable ", "the function "


def _reads(what: str) -> str:
    """An expression of what the finding says was changed; empty where the words are not known."""
    names = _names(what)
    reads = [f'os.environ.get("{name.removeprefix(_VARIABLE)}")' for name in names if name.startswith(_VARIABLE)]
    reads += [_STATES[name] for name in names if name in _STATES]
    return ", ".join([*reads, *_functions(what), *(name for name in names if name.startswith("torch."))])


def _functions(what: str) -> list[str]:
    """The functions of Python's modules that the finding names, ``time.time``."""
    return [name.removeprefix(_FUNCTION) for name in _names(what) if name.startswith(_FUNCTION)]


def _names(what: str) -> list[str]:
    """What the finding says was changed."""
    return what.partition(" changed ")[2].split(", ")


def process(what: str, build: bool) -> Scenario | None:
    """The scenario of a finding of changed state: around the build, or around two calls; None where its words are not known."""
    reads = _reads(what)
    if not reads:
        return None
    threads = "torch.set_num_threads(3)\n" if "get_num_threads" in reads else ""
    state = f"{threads}def state():\n    return [{reads}]\n\n\nbefore = state()\n"
    made = 'assert state() == before, f"$kind: {before} before the $doing, {state()} after"'
    imports: tuple[str, ...] = tuple(f"import {name}" for name in _MODULES)
    imports += tuple(f"import {name.rpartition('.')[0]}" for name in _functions(what))
    if "torch._" in reads:
        imports += ("import torch._dynamo", "import torch._inductor.config")
    if build:
        layer = f"{state}layer = subject.build(case, device)\n{made.replace('$doing', 'build')}"
        return Scenario("", imports, build=layer, compares=False)
    calls = "batch = inputs(7, 0)\n" + state.replace(
        "before = state()", "before = state()\nlayer(*batch)\nlayer(*batch)\nlayer(*inputs(264, 0))"
    )
    return Scenario(f"{calls}{made.replace('$doing', 'calls')}", imports, compares=False)
