"""A check: text of Python that fails where the layer is wrong."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """Text before the last call, the context manager around it, and text after it.

    ``all_calls``: it shows only after the calls before. ``imports`` are lines. ``twice`` says that it compares the outputs
    of two calls: ``first`` is that of the first call. ``calls_fakes`` says that it calls the fakes of the layer's
    ops, ``ahead`` that its text before the call stands before the layer is built.
    """

    after: str
    before: str = ""
    around: str = ""
    imports: tuple[str, ...] = ()
    all_calls: bool = False
    twice: bool = False
    calls_fakes: bool = False
    ahead: bool = False
