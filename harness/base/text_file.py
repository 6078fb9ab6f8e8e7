"""Reading a text file that a user named, without waiting for a FIFO or filling the memory."""

from pathlib import Path

# In bytes. Ten thousand models take 3 MB.
LARGEST = 16_000_000


def read_regular(path: Path) -> str:
    """The text, with or without a byte-order mark. Raises OSError, and ValueError where it is no text file of usual size."""
    if path.exists() and not path.is_dir():
        if not path.is_file():
            raise ValueError("it is no regular file")  # reading a FIFO would wait for its writer
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"it has {size:,} bytes, more than {LARGEST:,}")
    return path.read_text(encoding="utf-8-sig")
