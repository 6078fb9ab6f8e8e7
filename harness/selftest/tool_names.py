"""The names of torch's own tools, as the kill matrix shows them. Imports nothing: a command needs the names before torch."""

TOOLS = "torch's tools"
OPCHECK, AGAINST_EAGER, INDUCTOR, LIVENESS = TOOL_NAMES = ("opcheck", "eager/compiled", "inductor", "input liveness")
# Key of a worker's answer: the results are those of an earlier run.
KEPT = "kept"
