"""Workers: processes that do tasks side by side.

Belongs here: the pool, a worker seen from both sides, the plan of a run, what workers are started for.
May import: base to verdict.
"""
