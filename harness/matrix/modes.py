"""The names of the modes: the ways a layer is run. What runs them lies in the modules that the table names."""

from dataclasses import dataclass

from harness.base.errors import unknown


@dataclass(frozen=True, slots=True)
class ModeInfo:
    """A mode's name, the family it is chosen by, the module that runs it, and one line about it.

    ``needs_cuda`` says that without a CUDA device it can only be skipped: by default it is chosen on one alone.
    """

    name: str
    family: str
    module: str
    about: str
    needs_cuda: bool = False

    @property
    def dynamic(self) -> bool:
        """Whether the token count is dynamic."""
        return self.name.endswith("-dynamic")


# Runs one case at its own sizes.
MODES = {
    info.name: info
    for info in (
        ModeInfo(
            "eager", "eager", "harness.execution.modes.eager", "plain calls, every custom op audited against its fake"
        ),
        ModeInfo("fake", "fake", "harness.execution.modes.fake", "a FakeTensor trace, token count static"),
        ModeInfo("fake-dynamic", "fake", "harness.execution.modes.fake", "a FakeTensor trace, token count symbolic"),
        ModeInfo(
            "compiled",
            "compiled",
            "harness.execution.modes.compiled",
            "torch.compile, Inductor, fullgraph; tokens static",
        ),
        ModeInfo(
            "compiled-dynamic", "compiled", "harness.execution.modes.compiled", "the same with the token count dynamic"
        ),
        ModeInfo(
            "cudagraph", "cudagraph", "harness.execution.modes.cudagraph", "capture, then replays with changed inputs"
        ),
        ModeInfo(
            "cudagraph-dynamic",
            "cudagraph",
            "harness.execution.modes.buckets",
            "graphs by token bucket, filled up with NaN",
        ),
        ModeInfo(
            "cudagraph-compiled",
            "cudagraph",
            "harness.execution.modes.own_graphs",
            "torch.compile's own CUDA graphs",
            True,
        ),
    )
}

# Asks about every size at once, so that it has cases of its own.
PROOF = ModeInfo("proof", "proof", "harness.proof.mode", "every hidden size (and latent width) at once, over symbols")
EVERY_MODE = MODES | {PROOF.name: PROOF}


def choose(names: list[str], cuda: bool = False) -> list[ModeInfo]:
    """The modes of these names; ``compiled`` chooses both of its token modes, ``compiled-static`` the one. Raises BadInput.

    A mode that needs CUDA is chosen with its family where there is ``cuda``, and by its own name anywhere.
    """
    chosen: list[ModeInfo] = []
    for name in names:
        static = name.removesuffix("-static")
        found = [info for info in EVERY_MODE.values() if name in (info.name, info.family)]
        found = [MODES[static]] if name != static and static in MODES else found
        if not found:
            raise unknown("mode", name, EVERY_MODE)
        if name in MODES and MODES[name].dynamic:
            found = [MODES[name]]
        found = [info for info in found if cuda or not info.needs_cuda or info.name == name]
        chosen += [info for info in found if info not in chosen]
    return chosen


def by_default(cuda: bool) -> list[ModeInfo]:
    """The modes that run where none is named."""
    return [info for info in MODES.values() if cuda or not info.needs_cuda]
