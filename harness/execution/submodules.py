"""The submodules that a subject names for its stages, followed while a layer is called: which stage runs now.

A layer without a custom op has nothing else that tells its routed experts from its router: both are torch's own matmuls.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.nn import Module
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from harness.execution.stages import SUBMODULES
from harness.subjects.checked import SubjectError


class Submodules:
    """Between ``start`` and ``stop``, ``stage`` is the stage of the named submodule that runs, or empty.

    ``paths`` has a stage for each submodule's name, such as {"experts": "routed experts"}. The first module that is called
    is the layer. Torch's global hooks are used, since hooks on the layer itself would change what torch.compile sees later.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = paths
        self._left: Callable[[str, Any], None] | None = None
        self.stage = ""
        self._stages: dict[int, str] | None = None
        self._handles: list[Any] = []

    def start(self, left: Callable[[str, Any], None]) -> None:
        """Follow the layer until ``stop``. ``left`` is called with a stage and its module's output when that module returns."""
        if self.paths:
            self._left = left
            enter, leave = register_module_forward_pre_hook, register_module_forward_hook
            self._handles = [enter(self._enter), leave(self._leave, always_call=True)]

    def stop(self) -> None:
        """Follow it no longer. ``left`` is let go: a cycle with its owner would keep every recorded tensor alive."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._left, self.stage = [], None, ""

    def _enter(self, module: Module, inputs: Any) -> None:
        if self._stages is None:
            self._stages = {id(_submodule(module, path)): stage for path, stage in self.paths.items()}
        self.stage = self.stage or self._stages.get(id(module), "")

    def _leave(self, module: Module, inputs: Any, output: Any) -> None:
        stage = (self._stages or {}).get(id(module), "")
        if stage and stage == self.stage:
            self.stage = ""
            if self._left is not None:
                self._left(stage, output)


def _submodule(layer: Module, path: str) -> Module:
    """A submodule by its dotted path. Raises SubjectError with the names that there are."""
    try:
        return layer.get_submodule(path)
    except AttributeError:
        names = [name for name, _ in layer.named_modules() if name]
        there = f"its submodules are {', '.join(names[:8])}" if names else "it has no submodules"
        raise SubjectError(f"declares names the submodule {path!r}, which the layer does not have; {there}") from None


@contextmanager
def noting_parts() -> Iterator[set[str]]:
    """The stages of the parts of a layer that run inside a ``with`` block, inside custom ops too.

    A part is a module with the attribute ``moe_part``: the name of a part that a subject can declare, such as "router".
    """
    ran: set[str] = set()

    def enter(module: Module, inputs: Any) -> None:
        if stage := SUBMODULES.get(str(getattr(module, "moe_part", ""))):
            ran.add(stage)

    handle = register_module_forward_pre_hook(enter)
    try:
        yield ran
    finally:
        handle.remove()


def has_parts(layer: Any) -> bool:
    """Whether some module of a layer is such a part."""
    return isinstance(layer, Module) and any(hasattr(module, "moe_part") for module in layer.modules())
