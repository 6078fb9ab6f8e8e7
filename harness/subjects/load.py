"""Loading a subject by its import path."""

from collections.abc import Sequence
from typing import cast

from harness.base.errors import BadInput, nearest
from harness.base.exception_text import is_ctrl_c, raised_text
from harness.base.exits import exits_raise
from harness.base.loading import import_named
from harness.subjects.planted import planted_subject
from harness.subjects.subject import METHODS, Subject


def load_subject(spec: str, path: Sequence[str] = ()) -> Subject:
    """The subject at ``package.module:Name``: an instance, or a class that takes no arguments. Raises BadInput.

    ``package.module:where#what`` names an entry of a corpus (``harness.subjects.planted``). ``path`` is added to
    ``sys.path``: usually the project's folder.
    """
    module_name, _, name = spec.partition(":")
    if not name or not all(module_name.split(".")) or "/" in module_name:
        raise BadInput(f"subject {spec!r} is not of the form package.module:Name, nor a name `harness list` shows")
    module = import_named(f"subject {spec!r}", module_name, path)
    attribute = planted_subject(module, name) if "#" in name else _attribute(module, name, spec)
    subject = _instance(attribute, spec) if isinstance(attribute, type) else attribute
    missing = [method for method in METHODS if not callable(getattr(subject, method, None))]
    if missing:
        raise BadInput(f"subject {spec!r} has no method {', '.join(missing)}; a subject needs {', '.join(METHODS)}")
    return cast(Subject, subject)


def _attribute(module: object, name: str, spec: str) -> object:
    try:
        return getattr(module, name)
    except AttributeError:
        near = nearest(name, [public for public in vars(module) if not public.startswith("_")])
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise BadInput(f"subject {spec!r}: the module has no {name!r}{hint}") from None


def _instance(kind: type, spec: str) -> object:
    try:
        with exits_raise():
            return kind()
    except BadInput:
        raise
    except BaseException as error:  # a user's constructor may raise anything
        if is_ctrl_c(error):
            raise
        raise BadInput(f"subject {spec!r} cannot be made without arguments: {raised_text(error)}") from error
