"""From a case's id, as verdicts and pytest print it, back to the case."""

import re
from dataclasses import replace

from harness.base.errors import BadInput
from harness.matrix.case import Case
from harness.matrix.ranks import REAL
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN

# The parts of an id; ``Case.id`` joins them.
ID = re.compile(
    r"(?P<model>.+?)-hidden(?P<hidden>\d+)(?:-latent\d+)?-padded(?P<padded>\d+)-(?P<rule>.+)-(?P<kernel>wide|narrow)"
    r"-tp(?P<tp>\d+)-tokens(?P<tokens>\d+)(?:-ranks-(?P<collective>\w+))?(?P<full>-full)?"
)
_EXAMPLE = "nemotron-3-nano-30b-a3b-hidden2688-padded2816-trtllm-nvfp4-wide-tp2-tokens7"


def case_of(text: str, models_file: str = str(BUILT_IN)) -> Case:
    """The case with this id. Raises BadInput for an id of another form, or one that no case has any more."""
    found = ID.fullmatch(text)
    if found is None:
        raise BadInput(f"{text!r} is not the id of a case; expected one like {_EXAMPLE}, or options such as --models")
    chosen = Selection(
        models=(found["model"],),
        hidden=(int(found["hidden"]),),
        rules=(found["rule"],),
        kernels=(found["kernel"],),
        tp=(int(found["tp"]),),
        tokens=(int(found["tokens"]),),
        modes=("eager",),
        ranks=REAL if found["collective"] else "",
        collectives=(found["collective"],) if found["collective"] else (),
        full=bool(found["full"]),
        models_file=models_file,
    )
    cases = chosen.cases()
    made_small = [case.small() for case in replace(chosen, hidden=()).cases()]
    same = [case for case in (*made_small, *cases) if case.id == text]
    if not same:
        raise BadInput(f"no case has the id {text!r} any more: with that model and rule it is {cases[0].id}")
    return same[0]
