"""The parts of a script that traces a layer over symbolic sizes: by the layer's source, and by the subject's package."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from string import Template

from harness.findings.finding import Finding
from harness.proof.fixed import Fixed
from harness.proof.symbols.builder import AXES
from harness.proof.symbols.trace import SMALLEST
from harness.repro.flat.syntax import NotFlat
from harness.repro.traced.chosen import SPECIALISED, Untraced
from harness.repro.traced.flat import flat
from harness.repro.traced.merged import merged
from harness.repro.traced.numbers import blocks_of
from harness.repro.traced.statements import statements
from harness.repro.traced.texts import ALONE, DIFFERS, IMPORTS, RETURNED, SYMBOL, TRACE
from harness.repro.writing.imported import BUILT, imported
from harness.repro.writing.parts import Parts
from harness.subjects.recipe import Recipe
from harness.subjects.subject import Subject

_MOST = 4096  # sizes up to here are tried, and as many above a larger size


def traced_parts(subject: Subject, spec: str, shown: Fixed, finding: Finding) -> list[Parts]:
    """Those by the layer's source, where it has recipes, then those by the package. Raises Untraced where there are none."""
    recipes = getattr(subject, "recipes", None)
    makers: list[Callable[[], Parts]] = [lambda: _by_package(spec, shown, finding)]
    if recipes is not None:
        makers.insert(0, lambda: _torch_alone(shown, recipes(shown.case), finding))
    parts, reason = list[Parts](), ""
    for make in makers:
        try:
            parts.append(make())
        except NotFlat as error:
            reason = str(error)
        except Exception as error:  # of a source or of members that nobody foresaw
            reason = f"{type(error).__name__}: {error}"
    if not parts:
        raise Untraced(f"a script cannot put symbols into this layer: {reason}")
    return parts


def _torch_alone(shown: Fixed, recipes: Sequence[Recipe], finding: Finding) -> Parts:
    made = flat(shown, recipes[0], real=finding.kind != SPECIALISED)
    return Parts(
        f"{made.text}\n\n{_text(shown, finding, [], made.lines)}", (*made.imports, *IMPORTS), "torch alone", True
    )


def _by_package(spec: str, shown: Fixed, finding: Finding) -> Parts:
    part, put = imported(spec, shown.case, "cpu"), statements(shown)
    case = "copy.copy(case)" if put.of_case else "case"
    built = [f"layer, batch = subject.build({case}, device), [*inputs({shown.case.tokens}, 0)]"]
    text = part.text.replace(f"{BUILT}\n", "")
    return replace(part, text=f"{text}\n\n{_text(shown, finding, built, put.lines)}", imports=(*part.imports, *IMPORTS))


def _text(shown: Fixed, finding: Finding, built: Sequence[str], lines: Sequence[str]) -> str:
    """The trace and what it shows. ``built`` are lines before the symbols are looked at, ``lines`` those that put them."""
    axes, fixes = AXES[: shown.symbolic.builder.axes], finding.kind == SPECIALISED
    values = {
        "kind": finding.kind,
        "axes": ", ".join(axes),
        "axis": AXES[shown.axis],
        "symbols": "\n    ".join(SYMBOL.replace("$axis", name) for name in axes),
        "built": "\n    ".join(built),
        "statements": "\n        ".join(merged((*blocks_of(shown.formulas.values()), *lines))),
        "around": "" if fixes else ", Compare()",
        "most": str(_most(shown)),
        "others": _others(shown),
        "sizes": repr(list(shown.sizes)),
        "first": ", ".join(map(str, shown.sizes[0])),
        "ops": repr(tuple(shown.symbolic.builder.ops)),
    }
    text = Template(TRACE + (RETURNED + ALONE if fixes else f"\n\n{DIFFERS}")).safe_substitute(values)
    return text.replace("    \n", "")  # what stands before the trace of a layer by its source


def _most(shown: Fixed) -> int:
    return _MOST + max(at[shown.axis] for at in shown.sizes) // _MOST * _MOST


def _others(shown: Fixed) -> str:
    """A comprehension over the sizes of the structure that was traced."""
    axis, step = AXES[shown.axis], shown.symbolic.steps[shown.axis]
    stop = f"{_most(shown) + 1}, {step}" if step > 1 else f"{_most(shown) + 1}"
    tests = [
        f"{axis} % {multiple} {'==' if divides else '!='} 0"
        for at, multiple, divides in shown.symbolic.structures[shown.structure].tests
        if at == shown.axis
    ]
    sizes = f"range({max(step, SMALLEST)}, {stop})"
    return f"{{{axis} for {axis} in {sizes} if {' and '.join(tests)}}}" if tests else f"set({sizes})"
