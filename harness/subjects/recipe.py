"""A recipe: text of Python that makes a layer's tensors, inputs and oracle without the subject's package.

A subject may have ``recipes(case)``, which returns some, the shortest first. `harness repro` then writes a script that
imports nothing but torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """Text of Python, in parts.

    ``tensors`` defines a dictionary ``tensors`` with the layer's tensors by name, ``inputs`` the function
    ``inputs(tokens, seed)``, ``oracle`` the function ``oracle(batch)`` and what it needs.

    ``short`` maps functions of the subject's package to short text that does the same at this case: such a text defines the
    name of its function, or what stands before the bar in ``name|text``. ``zeros`` maps those of them that compute to text
    whose result has the same shape, of zeros: for a script in which no value matters. ``common`` is text that the others share.
    """

    tensors: str
    inputs: str
    oracle: str
    common: str = ""
    short: Mapping[Callable[..., Any], str] = field(default_factory=dict)
    zeros: Mapping[Callable[..., Any], str] = field(default_factory=dict)
