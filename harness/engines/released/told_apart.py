"""What the ranks of a case say of the same finding: where only some have more to say, which of them."""

from collections.abc import Sequence
from typing import Any

Findings = tuple[dict[str, Any], ...]

# Their causes end with what is wrong of what is passed on inside an op, which is each rank's own.
_OF_VALUES = ("values", "tokens", "varied")


def with_ranks(verdict: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The verdict of rank 0, with what single ranks add to the causes of its findings. All ranks see the same output."""
    lists = [one.get("findings", ()) for one in (verdict, *others)]
    if not lists[0] or len({len(findings) for findings in lists}) > 1:
        return verdict
    return verdict | {"findings": [_told(findings) for findings in zip(*lists, strict=True)]}


def _told(findings: Findings) -> dict[str, Any]:
    """Rank 0's finding. Its cause names the ranks that add to it, and its stage is theirs where they agree on it."""
    base = min((str(finding["cause"]) for finding in findings), key=len)
    added = {rank: finding for rank, finding in enumerate(findings) if finding["cause"] != base}
    if not _is_one(findings, base) or len({finding["cause"] for finding in findings}) == 1:
        return findings[0]
    texts = [f"On rank {rank}: {finding['cause'].removeprefix(base).strip()}" for rank, finding in added.items()]
    alike = len({finding["stage"] for finding in added.values()}) == 1
    at = next(iter(added.values())) if alike else findings[0]
    places = {name: at[name] for name in ("stage", "fingerprint") if name in at}
    return findings[0] | places | {"cause": " ".join((base, *texts))}


def _is_one(findings: Findings, base: str) -> bool:
    """Whether the ranks found the same, in values, and what they say of it begins alike."""
    found = {(finding["observer"], finding["kind"]) for finding in findings}
    return (
        len(found) == 1 and findings[0]["observer"] in _OF_VALUES and all(f["cause"].startswith(base) for f in findings)
    )
