"""The page as one file: it needs no server and no network, and runs no script but its own."""

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

SCRIPTS = ("text.js", "detail.js", "changes.js", "matrix.js", "views.js", "start.js")
# Inside a <script>, a browser obeys `</script>` and `<!--` even in a JSON text.
_ESCAPED = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_MARK = re.compile(r"\{\{(\w+)\}\}")


def embedded(value: Any) -> str:
    """JSON that a browser takes for nothing but data, wherever it stands in a page: ASCII, without angle brackets."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


def page(overview: dict[str, Any], details: list[dict[str, Any]]) -> str:
    """The page of an overview and its details."""
    style, script = _part("page.css"), "(() => {" + "\n".join(map(_part, SCRIPTS)) + "})();"
    own = f"style-src {_hash(style)}; script-src {_hash(script)}"
    parts = {
        "policy": f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "overview": embedded(overview),
        "details": embedded(details),
    }
    return _MARK.sub(lambda mark: parts[mark[1]], _part("page.html"))


def _part(name: str) -> str:
    return (files("harness.nightly.page") / name).read_text("utf-8")


def _hash(text: str) -> str:
    """A text as a content security policy names it. Only a script or style with this very text runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
