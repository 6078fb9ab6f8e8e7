"""An answer without what the text has done already or excludes: settings that are on, modes that did not run, a model left out."""

import re
from dataclasses import replace

from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.stated.settings import Settings, unadvised

_MODES = re.compile(r" --modes (?P<modes>\S+)")
_CHECK = "harness check "
_TRACED = ("traced", "compiled")


def as_stated(reading: Reading, settings: Settings, phase: str, model: str, line: str) -> Reading:
    """The reading for a text of these settings, whose failure is of a ``phase``; ``model`` is the one that it names, if any.

    ``line`` is where to look where nothing else is left.
    """
    return replace(
        reading,
        tries=tuple(dict.fromkeys(filter(None, (_tried(one, settings, phase, model) for one in reading.tries)))),
        look=unadvised(reading.look, settings) or (line if reading.look else ""),
        against=tuple(unadvised(text, settings) for text in reading.against),
    )


def _tried(command: str, settings: Settings, phase: str, model: str) -> str:
    """A command with the modes that the text allows and the model that it names; empty where it allows none of the modes."""
    if found := _MODES.search(command):
        modes = [mode for mode in found["modes"].split(",") if not _is_excluded(mode, settings, phase)]
        if not modes:
            return ""
        command = command.replace(found[0], f" --modes {','.join(modes)}")
    if model and command.startswith(_CHECK) and "--models " not in command:
        return command.replace(_CHECK, f"{_CHECK}--models {model} ", 1)
    return command


def _is_excluded(mode: str, settings: Settings, phase: str) -> bool:
    if mode.startswith("cudagraph"):
        return settings.graphs_off
    return settings.compiler_off and phase not in _TRACED and mode.startswith("compiled")
