"""The cache folder: $HARNESS_CACHE, else a folder in the user's cache. Imports nothing heavy."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.base.errors import BadInput


def cache_root() -> Path:
    """The folder that holds everything the harness caches."""
    chosen, of_user = os.environ.get("HARNESS_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored: each folder that a run begins in would get a cache of its own.
    return Path(chosen or Path(of_user if os.path.isabs(of_user) else "~/.cache", "moe-padding-harness")).expanduser()


def require_writable() -> None:
    """Raise BadInput where the cache folder cannot be written: every compiled case would fail, and none by its own fault."""
    place = cache_root()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"harness")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or error
        raise BadInput(
            f"cannot write to the cache folder {place}: {reason}; $HARNESS_CACHE names another one"
        ) from None


@contextmanager
def atomic_folder(place: Path) -> Iterator[Path]:
    """A temporary folder beside ``place``, renamed to it when the ``with`` block ends without an error.

    Other processes therefore never see a folder that is only half filled. Raises BadInput where it cannot be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise BadInput(
            f"cannot write to {place.parent}: {error.strerror}; $HARNESS_CACHE names another folder"
        ) from None
    try:
        yield fresh
        if not place.is_dir():  # another process may have made it meanwhile
            fresh.rename(place)
    except OSError as error:
        raise BadInput(f"cannot save {place.name} below {place.parent}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
