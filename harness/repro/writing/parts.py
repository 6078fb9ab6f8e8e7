"""The parts of a script that define ``layer``, ``inputs`` and ``oracle``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """Import lines, text, and what the script needs beside Python (``torch and kernels``).

    ``standalone`` says that it imports nothing but torch, so that it runs in any folder. ``oracle`` is kept apart because
    most scripts need none. ``shapes_only`` says that no value is computed: such a script shows no wrong values.
    ``without_fakes`` is the text for a script that calls no fake; empty where there is no such text.
    """

    text: str
    imports: tuple[str, ...] = ()
    needs: str = "torch"
    standalone: bool = False
    oracle: str = ""
    shapes_only: bool = False
    without_fakes: str = ""
