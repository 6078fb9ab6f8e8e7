"""A scenario: text of what one variation does, for scripts that import the subject, and so can build more layers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """Text behind the layer, and the imports that it needs. ``build`` stands in place of the statement that builds ``layer``.

    Where it ``compares``, the text ends with ``out`` and ``wanted``, which are compared.
    """

    text: str
    imports: tuple[str, ...] = ()
    build: str = ""
    compares: bool = True

    @property
    def builds(self) -> bool:
        """Whether it builds layers of its own."""
        return "subject." in self.text or bool(self.build)
