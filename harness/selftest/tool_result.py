"""The result of one of torch's own tools."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Whether a tool reports an error, the text of it, and whether it silently passes wrong values.

    ``not_run`` says why the tool has no result; it is empty where it has one.
    """

    seen: bool
    says: str = ""
    silent: bool = False
    not_run: str = ""
