"""A scenario: text of what one variation does, for scripts that import the subject, and so can build more layers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """Text behind the layer, and the imports that it needs. ``build`` stands in place of the statement that builds ``layer``.

    Where it ``compares``, the text ends with ``out`` and ``wanted``, which are compared. ``stands_in`` is a sentence on what
    the text only emulates. A ``long`` one leaves no room for the layer's source in a script.
    """

    text: str
    imports: tuple[str, ...] = ()
    build: str = ""
    compares: bool = True
    stands_in: str = ""
    long: bool = False

    @property
    def needs_subject(self) -> bool:
        """Whether the script must import the subject: it builds layers of its own, or has no room for the layer's source."""
        return self.long or "subject." in self.text or bool(self.build)
