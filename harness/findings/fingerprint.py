"""Fingerprints: the short hash by which a task or a finding is the same one in another run."""

import hashlib

_LENGTH = 16


def fingerprint(*parts: str) -> str:
    """A hash of the parts, 16 hexadecimal digits: subject, case and mode of a task; kind and stage too for a finding."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:_LENGTH]
