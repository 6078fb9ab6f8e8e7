"""Where the harness keeps what it made once: $HARNESS_CACHE, else the user's cache folder. Imports nothing heavy."""

import os
from pathlib import Path


def base() -> Path:
    """The folder that everything kept lies in."""
    named = os.environ.get("HARNESS_CACHE")
    return Path(named or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "moe-padding-harness")).expanduser()
