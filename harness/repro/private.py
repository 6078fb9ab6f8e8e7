"""Leaves out of a text what is private: paths, names of hosts and users, addresses, secrets of the environment."""

import getpass
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

_PACKAGES = re.compile(r"(?:/[\w.+~-]+)+/(site-packages|dist-packages)/")
# The folders of an absolute path, or of one below the home folder: its last part alone stays. In quotes it may hold spaces.
_QUOTED = re.compile(r"""(?<=["'`])(?:~|[A-Za-z]:)?[/\\](?:[^"'`\n/\\]+[/\\])+(?=[^"'`\n/\\]+["'`])""")
_FOLDERS = re.compile(r"""(?<![\w.~/:"'`])(?:~|[A-Za-z]:)?[/\\](?:[^\s"'`:,()/\\]+[/\\])+(?=[^\s"'`:,()/\\])""")
# Variables of the environment whose values are nobody's business.
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_SHORTEST_SECRET = 6
_SHORTEST_NAME = 3  # a shorter one is part of too many words


def without_private(text: str) -> str:
    """A text without paths of this machine, the names of its host and user, addresses, and secrets of the environment."""
    for secret in _secrets():
        text = text.replace(secret, "secret")
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        if len(folder.parts) > 1:
            text = text.replace(f"{folder}/", f"{short}/" if short != "." else "").replace(str(folder), short)
    text = _PACKAGES.sub(r"\1/", text)
    for pattern in (_QUOTED, _FOLDERS):
        text = pattern.sub(lambda match: "~/.../" if match[0][0] == "~" else ".../", text)
    for name, stands in _names():
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w])", stands, text)
    return _ADDRESS.sub("address", text)


def _secrets() -> list[str]:
    """The values of secret variables, the longest first."""
    values = [value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _SHORTEST_SECRET]
    return sorted(values, key=len, reverse=True)


def _names() -> Iterator[tuple[str, str]]:
    """The names of the host, with its domain and without, and of the user, each with what stands for it."""
    host = socket.gethostname()
    hosts, users = (host, host.partition(".")[0], os.environ.get("HOSTNAME", "")), (_user(), Path.home().name)
    for names, stands in ((hosts, "host"), (users, "user")):
        yield from (
            (name, stands) for name in dict.fromkeys(names) if len(name) >= _SHORTEST_NAME and not name.isdigit()
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""
