"""Modes: the ways a layer is run. Each leaves evidence; none judges."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.errors import unknown

if TYPE_CHECKING:
    from harness.bench import Bench
    from harness.evidence import Run


@dataclass(frozen=True, slots=True)
class ModeInfo:
    """A mode's name, the family it is chosen by, the module that runs it, and one line about it."""

    name: str
    family: str
    module: str
    about: str

    @property
    def dynamic(self) -> bool:
        """Whether the token count is dynamic."""
        return self.name.endswith("-dynamic")


class Mode(Protocol):
    """What each mode's module is."""

    def run(self, bench: "Bench", dynamic: bool) -> "Run":
        """Run the bench's case in this mode and leave the evidence."""
        ...


# Runs one case at its own sizes.
MODES = {
    info.name: info
    for info in (
        ModeInfo("eager", "eager", "harness.modes.eager", "plain calls, every custom op audited against its fake"),
        ModeInfo("fake", "fake", "harness.modes.fake", "a FakeTensor trace, token count static"),
        ModeInfo("fake-dynamic", "fake", "harness.modes.fake", "a FakeTensor trace, token count symbolic"),
        ModeInfo("compiled", "compiled", "harness.modes.compiled", "torch.compile, Inductor, fullgraph; tokens static"),
        ModeInfo("compiled-dynamic", "compiled", "harness.modes.compiled", "the same with the token count dynamic"),
        ModeInfo("cudagraph", "cudagraph", "harness.modes.cudagraph", "capture, then replays with changed inputs"),
    )
}

# Asks about every size at once, so that it has cases of its own.
PROOF = ModeInfo("proof", "proof", "harness.modes.proof", "every hidden size (and latent width) at once, over symbols")
EVERY_MODE = MODES | {PROOF.name: PROOF}


def choose(names: list[str]) -> list[ModeInfo]:
    """The modes of these names; ``compiled`` chooses both of its token modes, ``compiled-static`` the one. Raises BadInput."""
    chosen: list[ModeInfo] = []
    for name in names:
        static = name.removesuffix("-static")
        found = [info for info in EVERY_MODE.values() if name in (info.name, info.family)]
        found = [MODES[static]] if name != static and static in MODES else found
        if not found:
            raise unknown("mode", name, EVERY_MODE)
        if name in MODES and MODES[name].dynamic:
            found = [MODES[name]]
        chosen += [info for info in found if info not in chosen]
    return chosen
