"""Read the declarations of ops from a package's source: which op, in which file, in which function. Imports nothing of it."""

import ast
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# The namespace in which captured ops are registered.
SPACE = "captured"
# The functions that declare an op, or the fake of one. Engines use these names for their own helpers too.
REALS = ("register_custom_op", "custom_op", "triton_op", "direct_register_custom_op", "register_custom_op_from_extern")
FAKES = ("register_fake_op", "register_fake", "impl_abstract", "register_fake_if_exists")


@dataclass(frozen=True, slots=True)
class Declared:
    """One declaration in the source. ``function`` is the outermost function around it, empty at the top level of the module.

    ``line`` is the line of ``def``, or of the call. ``first`` and ``last`` are the first and last line of what declares it:
    the first is that of the first decorator, which is Python's ``co_firstlineno``. ``node`` is the decorated function or the
    call. ``own`` is its namespace in the source, or empty.
    """

    op: str
    real: bool
    file: str
    line: int
    first: int
    function: str
    last: int = 0
    own: str = ""
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Call | None = field(default=None, compare=False, repr=False)

    @property
    def module(self) -> str:
        """The module to import."""
        parts = Path(self.file).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")


def declarations(package: Path) -> list[Declared]:
    """Every declaration in the package's folder, in the order of files and lines. A file that is no Python is one without a name."""
    result: list[Declared] = []
    for file in sorted(package.rglob("*.py")):
        text = file.read_text("utf-8", errors="replace")
        if any(name in text for name in (*REALS, *FAKES)):
            place = str(file.relative_to(package.parent))
            try:
                result += _declared(ast.parse(text), place, _lines_of_names(text))
            except SyntaxError as error:  # a template, or source for another Python: importing it says so
                line = error.lineno or 1
                result.append(Declared("", any(name in text for name in REALS), place, line, line, ""))
    return result


def _lines_of_names(text: str) -> list[int]:
    """The lines of a file on which a helper is named, in order. Python counts no form feed as the end of a line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [number for number, line in enumerate(lines, 1) if any(name in line for name in (*REALS, *FAKES))]


def _is_on(node: ast.AST, lines: list[int]) -> bool:
    """Whether a node, its decorators counted, holds one of the lines. One without a place, such as arguments, may."""
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", None)
    if not first or last is None:
        return True
    first = min((decorator.lineno for decorator in getattr(node, "decorator_list", ())), default=first)
    place = bisect_left(lines, first)
    return place < len(lines) and lines[place] <= last


def _declared(tree: ast.Module, file: str, lines: list[int]) -> list[Declared]:
    """The declarations of a file. The definitions of the helpers themselves declare nothing.

    ``lines`` name a helper. What holds none of them is passed over: to visit every node of an engine takes seconds.
    """
    result: list[Declared] = []
    decorators: set[int] = set()

    def walk(node: ast.AST, function: str) -> None:
        for child in filter(lambda one: _is_on(one, lines), ast.iter_child_nodes(node)):
            inner = function
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                result.extend(_decorated(child, file, function, decorators))
                inner = function or child.name
                if child.name in (*REALS, *FAKES):
                    continue
            elif isinstance(child, ast.ClassDef) and not function:
                inner = child.name
            elif isinstance(child, ast.Call) and id(child) not in decorators:
                result.extend(_called(child, file, function, decorators))
            walk(child, inner)

    walk(tree, "")
    return sorted(result, key=lambda one: one.first)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _decorated(node: Function, file: str, function: str, seen: set[int]) -> Iterator[Declared]:
    first = min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)
    for decorator in node.decorator_list:
        seen.add(id(decorator))
        name = _name(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if name not in (*REALS, *FAKES) or isinstance(decorator, ast.Attribute):
            continue  # @op.register_fake is the fake of an op that is in the list itself
        if isinstance(decorator, ast.Call) and name in FAKES and not decorator.args:
            continue
        text = _op_of(decorator, name) if isinstance(decorator, ast.Call) else ""
        own, op = _split(text or node.name)
        yield Declared(op, name in REALS, file, node.lineno, first, function, node.lineno, own, node)


def _called(node: ast.Call, file: str, function: str, seen: set[int]) -> Iterator[Declared]:
    """A helper that is called as a function: with the op's function, or as ``helper(...)(function)``."""
    inner = node.func if isinstance(node.func, ast.Call) else node
    name = _name(inner.func)
    if name not in (*REALS, *FAKES) or not (inner is not node or _gives_function(inner, name)):
        return
    seen.add(id(inner))
    own, op = _split(_op_of(inner, name))
    last = node.end_lineno or node.lineno
    yield Declared(op, name in REALS, file, node.lineno, node.lineno, function, last, own, node)


def _gives_function(node: ast.Call, name: str) -> bool:
    named = {keyword.arg for keyword in node.keywords}
    if name == "direct_register_custom_op":
        return len(node.args) > 1 or "op_func" in named
    if name == "register_custom_op_from_extern":
        return bool(node.args)
    if name in FAKES:
        return len(node.args) > 1
    texts = isinstance(node.args[0], (ast.Constant, ast.JoinedStr)) if node.args else True
    return len(node.args) > 1 if texts else True


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _op_of(node: ast.Call, helper: str) -> str:
    """The name of the op in a call of a helper: its own argument, or the name of the function that it is given."""
    named = [keyword.value for keyword in node.keywords if keyword.arg in ("op_name", "name")]
    texts = [*named, *node.args[:1]]
    text = next((found for one in texts if (found := _text(one))), "")
    if not text and helper in ("register_custom_op", "register_custom_op_from_extern") and node.args:
        return _name(node.args[0])
    return text


def _text(node: ast.expr) -> str:
    """The text of an expression, without parts that are known only at run time."""
    if isinstance(node, ast.BinOp):
        return f"{_text(node.left)}{_text(node.right)}"
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values if isinstance(part, ast.Constant))
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _split(text: str) -> tuple[str, str]:
    """(namespace or empty, name)."""
    own, colons, op = text.partition("::")
    return (own, op) if colons else ("", own)
