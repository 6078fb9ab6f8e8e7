"""Execution: how a layer is run, and the evidence that leaves.

Belongs here: no judgement; the rig, the recorder, evidence, stages, pinned settings, global state, the device, memory,
and the modes (modes/).
May import: base to subjects.
"""
