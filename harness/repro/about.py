"""What a script is about: a case in a mode, its symptom, the ops of the subject and the device."""

import sys
from dataclasses import dataclass
from string import Template

from harness.execution.modes.eager import larger_batch
from harness.matrix.case import Case
from harness.matrix.modes import ModeInfo
from harness.ops.collectives import all_reduce
from harness.repro.symptom import Symptom
from harness.repro.texts import variations


def next_eight(tokens: int) -> int:
    """The size of the smallest graph that a batch does not fill."""
    return (tokens // 8 + 1) * 8


@dataclass(frozen=True, slots=True)
class About:
    """``ops`` are those of the subject; ``places`` are those of the expert ids and the routing weights among the inputs.

    ``reducers`` are the ops that a layer sums over the ranks by, ``most_tokens`` is the largest batch that it takes.
    """

    case: Case
    mode: ModeInfo
    symptom: Symptom
    ops: tuple[str, ...]
    device: str
    reductions: int = 1
    reducers: tuple[str, ...] = ()
    most_tokens: int = sys.maxsize
    places: tuple[int, int] = (1, 2)

    @property
    def at_capture(self) -> bool:
        """Whether it shows while a graph is captured or replayed."""
        call = self.symptom.finding.call
        if self.symptom.finding.vary.startswith(variations.CAPTURED):
            return True
        return self.mode.family == "cudagraph" and (call == "capture" or call.startswith("replay"))

    @property
    def bucket(self) -> int:
        """The batch size of the graph that the finding's call names; the next of eights where it names none."""
        numbers = [int(word) for word in self.symptom.finding.call.split() if word.isdigit()]
        return numbers[0] if numbers else next_eight(self.case.tokens)

    @property
    def op(self) -> str:
        """The op that the finding is about; the subject's own where it names none."""
        named = self.symptom.finding.what.partition(" ")[0].rstrip(":")
        return named if "::" in named else (self.ops[0] if self.ops else "")

    def filled(self, text: str) -> str:
        """A text with what stands for ``$kind``, ``$op``, ``$name``, ``$width`` and the like."""
        finding = self.symptom.finding
        values = {
            "dispatch": self.device.upper(),
            "called": str(finding.detail.get("tokens", self.case.tokens)),
            "ranks": finding.vary.partition("=")[2],
            "reducers": repr(self.reducers),
            "small": str(min(next_eight(self.case.tokens), self.most_tokens)),
            "large": str(min(next_eight(larger_batch(self.case.tokens, self.most_tokens)), self.most_tokens)),
            "kind": self.symptom.finding.kind,
            "op": self.ops[0] if self.ops else "",
            "name": self.op,
            "width": str(self.case.width),
            "tokens": str(self.case.tokens),
            "collective": all_reduce.name,
            "ids": str(self.places[0]),
            "weights": str(self.places[1]),
            "experts": str(self.case.experts),
            "top_k": str(self.case.top_k),
            "multiple": str(self.case.alignment.hidden),
            "reductions": str(self.reductions if self.case.tp > 1 else 0),
        }
        return Template(text).safe_substitute(values)
