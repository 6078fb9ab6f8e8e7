"""The table of modes, the ways to run a layer: their names, families and modules."""

from dataclasses import dataclass

from harness.base.errors import unknown


@dataclass(frozen=True, slots=True)
class ModeInfo:
    """A mode's name, its family, the module that runs it, and one line about it.

    ``needs_cuda`` says that the mode is skipped without a CUDA device, so that the default selection leaves it out there.
    ``vary`` names the variations to run, all where it is empty; only the family ``varied`` has any.
    ``parts_only``: one structure for each combination of parts, whatever its activation and kernel.
    """

    name: str
    family: str
    module: str
    about: str
    needs_cuda: bool = False
    vary: tuple[str, ...] = ()
    parts_only: bool = False

    @property
    def exact(self) -> str:
        """The name that chooses this mode and no other: ``compiled-static``, since ``compiled`` chooses the family."""
        return f"{self.name}-static" if f"{self.name}-dynamic" in MODES else self.name

    @property
    def dynamic(self) -> bool:
        """Whether the token count is dynamic."""
        return self.name.endswith("-dynamic")


# The family whose modes judge each structure of layer once, at one small width.
VARIED = "varied"
# Each of these runs one case at its own sizes.
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
            "compiled-dynamic",
            "compiled",
            "harness.execution.modes.compiled",
            "torch.compile, Inductor, fullgraph; tokens dynamic",
        ),
        ModeInfo(
            "cudagraph", "cudagraph", "harness.execution.modes.cudagraph", "capture, then replays with changed inputs"
        ),
        ModeInfo(
            "cudagraph-dynamic",
            "cudagraph",
            "harness.execution.modes.buckets",
            "one graph for each token bucket, batches filled up with NaN",
        ),
        ModeInfo(
            "cudagraph-compiled",
            "cudagraph",
            "harness.execution.modes.own_graphs",
            "torch.compile's own CUDA graphs",
            True,
        ),
        ModeInfo(
            "varied-tokens",
            VARIED,
            "harness.execution.modes.varied.tokens",
            "eager calls at many token counts, from 3 to 32,800",
        ),
        ModeInfo(
            "varied-surroundings",
            VARIED,
            "harness.execution.modes.varied.surroundings",
            "eager calls in other modes of torch, another thread, after others; the process and its memory",
            parts_only=True,
        ),
        ModeInfo(
            "varied-layers",
            VARIED,
            "harness.execution.modes.varied.layers",
            "several layers of one class; weights loaded, saved, copied and swapped after a call",
            parts_only=True,
        ),
        ModeInfo(
            "varied-caches",
            VARIED,
            "harness.execution.modes.varied.caches",
            "what a layer keeps: inputs by address, outputs, counts of calls, tables, graphs' memory",
            parts_only=True,
        ),
        ModeInfo(
            "varied-sizes",
            VARIED,
            "harness.execution.modes.varied.sizes",
            "more experts, wider ones, four of them for a token; four ranks with shards of their own",
            parts_only=True,
        ),
        ModeInfo(
            "varied-compiled",
            VARIED,
            "harness.execution.modes.varied.compiled",
            "Dynamo's graph after eager calls, for one token and none, under inference mode, after a reload",
            parts_only=True,
        ),
        ModeInfo(
            "varied-contents",
            VARIED,
            "harness.execution.modes.varied.contents",
            "eager calls on inputs of special values and special routing",
        ),
        ModeInfo(
            "varied-forms",
            VARIED,
            "harness.execution.modes.varied.forms",
            "eager calls on slices, unaligned memory, other dtypes and inputs that require grad",
        ),
    )
}

# A proof covers every size at once, so it has cases of its own.
PROOF = ModeInfo("proof", "proof", "harness.proof.mode", "every hidden size (and latent width) at once, over symbols")
EVERY_MODE = MODES | {PROOF.name: PROOF}


def choose(names: list[str], cuda: bool = False) -> list[ModeInfo]:
    """The modes of these names. Raises BadInput.

    A family's name, ``compiled``, chooses all its modes; ``compiled-static`` chooses the static one alone. A mode that
    needs CUDA is chosen by its family only where there is ``cuda``, and by its own name always.
    """
    chosen: list[ModeInfo] = []
    for name in names:
        static = name.removesuffix("-static")
        matches = [info for info in EVERY_MODE.values() if name in (info.name, info.family)]
        matches = [MODES[static]] if name != static and static in MODES else matches
        if not matches:
            raise unknown("mode", name, EVERY_MODE)
        if name in MODES and MODES[name].dynamic:
            matches = [MODES[name]]
        matches = [info for info in matches if cuda or not info.needs_cuda or info.name == name]
        chosen += [info for info in matches if info not in chosen]
    return chosen


def by_default(cuda: bool) -> list[ModeInfo]:
    """The modes that run where the user names none."""
    return [info for info in MODES.values() if cuda or not info.needs_cuda]
