"""Running: text that defines how a script runs the layer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """Text that defines ``run``, a function of a batch, and the imports it needs. Without one, the layer is called.

    ``calls_fakes`` says that it calls the fakes of the layer's ops. ``stands_in`` is a sentence on what the text only emulates.
    """

    text: str
    imports: tuple[str, ...] = ()
    calls_fakes: bool = False
    stands_in: str = ""
