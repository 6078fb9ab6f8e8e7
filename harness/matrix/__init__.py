"""Matrix: the cases to judge.

Belongs here: the case, model shapes and alignment rules (data/), the names of the modes, the selection of cases and modes.
May import: base.
"""
