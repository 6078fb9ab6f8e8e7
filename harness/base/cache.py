"""Where the harness keeps what it made once: $HARNESS_CACHE, else the user's cache folder. Imports nothing heavy."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.base.errors import BadInput


def base() -> Path:
    """The folder that everything kept lies in."""
    named = os.environ.get("HARNESS_CACHE")
    return Path(named or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "moe-padding-harness")).expanduser()


@contextmanager
def under_another_name(place: Path) -> Iterator[Path]:
    """A fresh folder beside ``place`` that takes its name at the end, so that nothing half-made is ever found there."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise BadInput(
            f"cannot write to {place.parent}: {error.strerror}; $HARNESS_CACHE names another folder"
        ) from None
    try:
        yield fresh
        if not place.is_dir():  # another run may have been faster
            fresh.rename(place)
    except OSError as error:
        raise BadInput(f"cannot keep {place.name} below {place.parent}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
