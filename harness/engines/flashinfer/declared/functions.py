"""Read FlashInfer's declarations from its source: which op, in which file, in which function. Imports nothing of it."""

import ast
from dataclasses import dataclass
from pathlib import Path

# The namespace in which captured ops are registered.
SPACE = "flashinfer_captured"
DECORATORS = ("register_custom_op", "register_fake_op")
# Torch's own decorator. FlashInfer uses it for a few ops, and other packages in its tree for theirs.
REGISTERING, _OWN = "custom_op", "flashinfer::"
# The part of FlashInfer that is audited: these files, and ops with these names in any file.
_FILES = ("fused_moe/", "quantization/", "gated_act_mxfp8", "moe_alltoall", "trtllm_alltoall", "cake_moe_grouped_gemm")
_NAMES = ("moe", "quantize", "_quant", "fp4_dequant", "fp8_dequant")
_OTHER = ("packbits", "segment_packbits", "quantized_all_reduce")


@dataclass(frozen=True, slots=True)
class Declared:
    """One decorator in the source. ``function`` is the outermost function around it, empty at the top level of the module.

    ``line`` is the line of ``def``. ``first`` is the line of the first decorator, which is Python's ``co_firstlineno``.
    """

    op: str
    real: bool
    file: str
    line: int
    first: int
    function: str

    @property
    def module(self) -> str:
        """The module to import."""
        parts = Path(self.file).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")

    @property
    def audited(self) -> bool:
        """Whether it is an op for MoE, or for FP4 or FP8 quantisation."""
        known = any(part in self.file for part in _FILES) or any(part in self.op for part in _NAMES)
        return known and self.op not in _OTHER


def declarations(package: Path) -> list[Declared]:
    """Every declaration in the package's folder, in the order of files and lines."""
    result: list[Declared] = []
    for file in sorted(package.rglob("*.py")):
        text = file.read_text("utf-8", errors="replace")
        if any(f"@{name}(" in text for name in DECORATORS) or f'{REGISTERING}("{_OWN}' in text:
            result += _declared(ast.parse(text), str(file.relative_to(package.parent)))
    return result


def _declared(tree: ast.Module, file: str) -> list[Declared]:
    result: list[Declared] = []

    def walk(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min((decorator.lineno for decorator in child.decorator_list), default=child.lineno)
                for decorator in child.decorator_list:
                    name = _decorator(decorator)
                    if name and isinstance(decorator, ast.Call):
                        op = _op(decorator.args[0]) if decorator.args else "?"
                        result.append(Declared(op, name != DECORATORS[1], file, child.lineno, first, function))
                walk(child, function or child.name)
            else:
                walk(child, function)

    walk(tree, "")
    return result


def _decorator(node: ast.expr) -> str:
    called = node.func if isinstance(node, ast.Call) else None
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    own = isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
    registers = name == REGISTERING and own and str(node.args[0].value).startswith(_OWN)  # type: ignore[attr-defined]
    return name if name in DECORATORS or registers else ""


def _op(node: ast.expr) -> str:
    """The op's short name, without parts that are known only at run time."""
    if isinstance(node, ast.BinOp):
        return f"{_op(node.left)}{_op(node.right)}"
    if isinstance(node, ast.JoinedStr):
        return "".join(_op(part) for part in node.values if isinstance(part, ast.Constant))
    return str(node.value).removeprefix("flashinfer::") if isinstance(node, ast.Constant) else ""
