"""Settings that a text shows to be on or off: CUDA graphs, the compiler, and what torch was told to print."""

import re
from dataclasses import dataclass

_SET = r"['\"]?(?:=|: ?| is )['\"]?"
_EAGER = rf"--enforce-eager\b|enforce_eager{_SET}[Tt]rue"
_NO_GRAPHS = re.compile(
    rf"{_EAGER}|--(?:disable|no)-(?:cuda-?)?graphs?(?![\w-])|disable_cuda_graph{_SET}[Tt]rue|(?<!runtime_mode=)CUDAGraphMode\.NONE"
    rf"|\bcudagraph_mode{_SET}(?:NONE|none)\b|\buse_cuda_?graphs?{_SET}[Ff]alse|\bcuda_?graphs?{_SET}(?:[Ff]alse|[Oo]ff|none\b)"
    r"|\b[Gg]raphs? (?:are |is |were |was )?(?:off|disabled|turned off)\b"
    r"|\b(?:[Nn]o|[Ww]ithout) (?:CUDA |cuda |HIP )?graphs?\b(?! break)"
)
_NO_COMPILER = re.compile(
    rf"{_EAGER}|\bTORCH(?:DYNAMO|_COMPILE)_DISABLE=1|CompilationMode\.NONE|CompilationLevel\.NO_COMPILATION"
    rf"|\b(?:torch[._])?compile{_SET}(?:[Ff]alse|[Oo]ff\b)|torch\.compile (?:is )?(?:off|disabled)"
    r"|\b(?:[Nn]o|[Ww]ithout) torch\.compile\b"
)
# Without one of these a text is looked at no further.
_OF_GRAPHS, _OF_COMPILER = ("raph", "RAPH", "eager"), ("compil", "COMPIL", "Compil", "DYNAMO_", "eager")
# What speaks of a graph that was made or run.
_GRAPHED = re.compile(r"\.replay\(|[Cc]apturing (?:CUDA|cuda)|Graph capturing finished|capture_begin|in replay\b")
_LOGS = re.compile(r"(?<!\w)TORCH_LOGS=['\"]?(?P<names>[\w+.,:-]+)")
# What stands before a variable that is set: a prompt, a command that sets some, or another one.
_SETS = re.compile(r"(?:^|[$#>%+] ?|\b(?:export|env|ENV) |-e |&& |; |\b[A-Z][A-Z0-9_]+=\S+ )['\"]?$")
_SHOWN = re.compile(r"\[__(?P<name>\w+)\]")  # what torch puts before what such a setting prints
_ADVISED = re.compile(
    r"\b(?:use|using|set|setting|enable|enabling|try|trying|consider|pass|passing|add|adding|or|please|should|could|can"
    r"|would|may|might|if|recommend\w*|suggest\w*|not|without)\b[^\n]{0,12}$",
    re.I,
)
_BEFORE = 40
_BLOCKING = re.compile(
    r"^CUDA_LAUNCH_BLOCKING=1(?: for the \w+)?(?:, )?| with CUDA_LAUNCH_BLOCKING=1, which names the call"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """``graphs_off`` and ``compiler_off`` as a text states them, ``graphed`` where it shows a graph that was made or run.

    ``logs`` are the names that TORCH_LOGS has. ``blocking`` says that kernels were launched one by one.
    """

    graphs_off: bool = False
    graphed: bool = False
    compiler_off: bool = False
    logs: frozenset[str] = frozenset()
    blocking: bool = False


def settings_in(text: str) -> Settings:
    """The settings that a text shows."""
    return Settings(
        graphs_off=any(word in text for word in _OF_GRAPHS) and _states(_NO_GRAPHS, text),
        graphed=bool(_GRAPHED.search(text)),
        compiler_off=any(word in text for word in _OF_COMPILER) and _states(_NO_COMPILER, text),
        logs=frozenset(_logs(text)),
    )


def joined(one: Settings, other: Settings) -> Settings:
    """What two texts show of one run: a graph that was made speaks against all words that there was none."""
    graphed = one.graphed or other.graphed
    off = not graphed and (one.graphs_off or other.graphs_off)
    return Settings(off, graphed, one.compiler_off or other.compiler_off, one.logs | other.logs)


def _states(form: re.Pattern[str], text: str) -> bool:
    """Whether a text has a form anywhere but as advice."""
    return any(not _is_advice(text, found) for found in form.finditer(text))


def _is_advice(text: str, found: re.Match[str]) -> bool:
    return bool(_ADVISED.search(_before(text, found)))


def _before(text: str, found: re.Match[str]) -> str:
    """What stands before a find on its line, as far as it counts."""
    return text[max(0, found.start() - _BEFORE) : found.start()].rpartition("\n")[2]


def _logs(text: str) -> list[str]:
    shown = [found["name"] for found in _SHOWN.finditer(text)]
    named = [found["names"] for found in _LOGS.finditer(text) if _SETS.search(_before(text, found))]
    return shown + [name.lstrip("+") for names in named for name in names.split(",")]


def unadvised(text: str, settings: Settings) -> str:
    """An advice without what is set already."""
    parts = (_kept(part, settings) for part in text.split("; "))
    return "; ".join(_told(part, settings) for part in parts if part)


def _kept(part: str, settings: Settings) -> str:
    """One clause of an advice; empty where all of it is done already."""
    if settings.graphs_off and re.match(r"the same run (?:with graphs off|without graphs)", part):
        return ""
    if not settings.blocking:
        return part
    return _BLOCKING.sub("", part.replace("CUDA_LAUNCH_BLOCKING=1 and compute-sanitizer do", "compute-sanitizer does"))


def _told(part: str, settings: Settings) -> str:
    """A clause that says of what TORCH_LOGS has that it is printed."""

    def printed(found: re.Match[str]) -> str:
        name = found["names"].lstrip("+").rstrip(".,:")
        rest = found["names"][len(found["names"].rstrip(".,:")) :]
        return f"what TORCH_LOGS={name} printed (it is set){rest}" if name in settings.logs else found[0]

    return _LOGS.sub(printed, part)
