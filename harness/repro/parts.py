"""The parts of a script that define ``layer``, ``inputs`` and ``oracle``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """Import lines, text, and what the script needs beside Python (``torch and kernels``).

    ``standalone`` says that it imports nothing but torch, so that it runs in any folder. ``oracle`` is kept apart because
    most scripts need none. ``shapes_only`` says that no value is computed: such a script shows no wrong values.
    """

    text: str
    imports: tuple[str, ...] = ()
    needs: str = "torch"
    standalone: bool = False
    oracle: str = ""
    shapes_only: bool = False
