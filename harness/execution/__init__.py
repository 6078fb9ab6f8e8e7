"""Execution: how a layer is run, and the evidence that this leaves.

Belongs here: the rig, the recorder, evidence, stages, pinned settings, the device, memory, state (state/), and the modes
(modes/). Nothing here judges.
May import: base to subjects.
"""
