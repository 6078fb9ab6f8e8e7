"""The whole script: what it shows, imports, the layer, how it is run, and the check."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from string import Template

from harness.matrix.case import Case
from harness.matrix.modes import ModeInfo
from harness.ops.collectives import all_reduce
from harness.repro import checks, runs, variations
from harness.repro.checks import Check
from harness.repro.parts import Parts
from harness.repro.runs import Running
from harness.repro.symptom import Symptom
from harness.repro.wrapping import wrapped

_CALL = re.compile(r"\brun\(((?:inputs\([^()]*\)|\w+))\)")
# Kinds that a layer shows whose weights are zeros.
_OF_SHAPES = (
    *("wrong-shape", "strided-output", "wrong-dtype", "not-contiguous", "collective-count", "never-dispatched"),
    *("specialised", "recompiled"),
)
MOST_LINES = 60
_OP_WRITES = ("mutated-input", "undeclared-alias")


@dataclass(frozen=True, slots=True)
class About:
    """What the script is about: a case in a mode, its symptom, the ops of the subject and the device.

    ``places`` are those of the expert ids and the routing weights among the inputs.
    """

    case: Case
    mode: ModeInfo
    symptom: Symptom
    ops: tuple[str, ...]
    device: str
    reductions: int = 1
    places: tuple[int, int] = (1, 2)

    @property
    def at_capture(self) -> bool:
        """Whether it shows while a graph is captured or replayed."""
        call = self.symptom.finding.call
        if self.symptom.finding.vary.startswith(variations.CAPTURED):
            return True
        return self.mode.family == "cudagraph" and (call == "capture" or call.startswith("replay"))


def scripts(about: About, parts: Parts) -> Iterator[str]:
    """Scripts for a symptom, the shortest first: it may show only after the calls that came before."""
    if parts.shapes_only and not about.symptom.error and about.symptom.finding.kind not in _OF_SHAPES:
        return
    seen = set()
    for all_calls in (False, True):
        text = _script(about, parts, all_calls)
        if text not in seen:
            seen.add(text)
            yield text


def _script(about: About, parts: Parts, all_calls: bool) -> str:
    check, running = _check(about), _running(about)
    tail = _filled(about, "\n".join(line for line in _tail(about, check, all_calls) if line))
    if "def run(" not in running.text:
        tail = _CALL.sub(r"layer(*\1)", tail)
    head = "" if _needs_batch(check) else _filled(about, check.before)
    oracle = parts.oracle if "oracle(" in tail else ""
    imports = _imports((*parts.imports, *running.imports, *check.imports, *_used("torch.compiler", running.text)))
    body = [parts.text, oracle, running.text, head]
    text = "\n\n".join(part for part in (*body, tail) if part)
    whole = f"{_docstring(about, parts)}\n{imports}\n\ntorch.set_grad_enabled(False)\n{text}\n"
    return _short(wrapped(re.sub(r"\n{3,}", "\n\n", whole)))


def _short(text: str) -> str:
    """The script, without as many of its empty lines as make it longer than MOST_LINES: those before definitions go last."""
    lines = text.split("\n")
    empty = [place for place, line in enumerate(lines[:-1]) if not line]
    empty.sort(key=lambda place: (lines[place + 1].startswith(("def ", "class ")), -place))
    gone = set(empty[: max(0, len(lines) - 1 - MOST_LINES)])
    return "\n".join(line for place, line in enumerate(lines) if place not in gone)


def _used(name: str, text: str) -> tuple[str, ...]:
    return (f"import {name}",) if f"{name}." in text else ()


def _imports(lines: tuple[str, ...]) -> str:
    """Import lines as isort orders them: the standard library's, then torch's."""
    own = dict.fromkeys((*lines, "import torch"))
    torch_lines = sorted((line for line in own if "torch" in line.split()[1]), key=lambda line: (line[0] != "i", line))
    others = sorted((line for line in own if line not in torch_lines), key=lambda line: (line[0] != "i", line))
    return "\n".join((*others, *torch_lines))


def _docstring(about: About, parts: Parts) -> str:
    finding, case = about.symptom.finding, about.case
    what = finding.what.replace("\\", "/").replace('"""', "'''")
    expects = f"Ends with {about.symptom.expected}." + (
        "" if about.symptom.error else " A correct layer ends in silence."
    )
    return f'"""{finding.kind} at {finding.stage}, mode {about.mode.name}, {case.id}\n{what}\n{expects} Needs {parts.needs}."""'


def _check(about: About) -> Check:
    """The check of the symptom; none where the layer raises by itself."""
    finding, error = about.symptom.finding, about.symptom.error
    if finding.observer == "contract" and finding.call != "zero tokens" and about.mode.family != "compiled":
        return checks.CHECKS["fake-differs"]
    if about.mode.family == "varied" and finding.observer == "second call":
        return Check(checks.VALUES)
    if error:
        return Check("")
    if finding.kind in _OP_WRITES and "::" in finding.what:
        return checks.CHECKS["op-writes"]
    if about.at_capture and finding.kind in ("wrong-values", "stale-replay"):
        return Check(checks.VALUES)
    return checks.check_for(finding.kind)


def _running(about: About) -> Running:
    if about.symptom.finding.kind == "freed-memory":
        return runs.ADDRESSES
    if about.at_capture:
        return runs.GRAPH_CUDA if about.device == "cuda" else runs.GRAPH_CPU
    if about.symptom.finding.call == "eager audit":
        return runs.EAGER
    return runs.RUNNING.get(about.mode.name) or runs.RUNNING[about.mode.family]


def _tail(about: About, check: Check, all_calls: bool) -> list[str]:
    """The calls and the check."""
    finding, case = about.symptom.finding, about.case
    if finding.kind == "not-built":
        return []
    if finding.kind == "freed-memory":
        return [runs.addresses_text(finding.call, case)]
    if about.at_capture and case.tokens and finding.kind not in ("padding-tokens-leak", "output-overwritten"):
        if finding.vary:
            case = replace(case, tokens=int(finding.vary.partition("=")[2]))
        refused = finding.kind == "capture-refused"
        return [runs.capture_text(case) if refused else runs.replay_text(case), check.after]
    return _calls(about, check, all_calls)


def _calls(about: About, check: Check, all_calls: bool) -> list[str]:
    finding, case = about.symptom.finding, about.case
    plan = runs.calls(case, finding.call, finding.vary)
    if finding.kind == "padding-tokens-leak":
        plan = [(_bucket(finding.call, case), 0)]
    if finding.kind == "output-overwritten" and about.mode.family == "cudagraph":
        plan = [(_bucket(finding.call, case), 0), (_bucket(finding.call, case), 1)]
    *before, (tokens, seed) = plan if all_calls or check.all_calls else plan[:1] * check.twice + plan[-1:]
    lines = []
    for index, (count, number) in enumerate(before):
        lines.append(f"{'first = ' if check.twice and not index else ''}run(inputs({count}, {number}))")
        lines += ["copy = first.clone()"] if check.twice and not index else []
    change = variations.CHANGES.get(finding.vary, "")
    lines.append(f"batch = [*inputs({tokens}, {seed})]" if change else f"batch = inputs({tokens}, {seed})")
    lines += [change] if change else []
    if finding.kind == "writes-beside":
        ahead, behind = variations.BESIDE
        return [*lines, ahead, "out = run(batch)", behind]
    call = "out = run(batch)"
    around = [f"with {check.around}:", f"    {call}"] if check.around else [call]
    return [*lines, *([check.before] if _needs_batch(check) else []), *around, check.after]


def _needs_batch(check: Check) -> bool:
    """Whether what a check does before the call reads the inputs."""
    return "batch" in check.before and "def " not in check.before


def _bucket(call: str, case: Case) -> int:
    numbers = [int(word) for word in call.split() if word.isdigit()]
    return numbers[0] if numbers else (case.tokens // 8 + 1) * 8


def _filled(about: About, text: str) -> str:
    finding, case = about.symptom.finding, about.case
    named = finding.what.partition(": ")[0] if finding.observer == "contract" else finding.what.partition(" ")[0]
    values = {
        "kind": finding.kind,
        "op": about.ops[0] if about.ops else "",
        "name": named if "::" in named else (about.ops[0] if about.ops else ""),
        "width": str(case.width),
        "tokens": str(case.tokens),
        "collective": all_reduce.name,
        "ids": str(about.places[0]),
        "weights": str(about.places[1]),
        "experts": str(case.experts),
        "reductions": str(about.reductions if case.tp > 1 else 0),
    }
    return Template(text).safe_substitute(values)
