"""Workers: processes that do tasks side by side.

Belongs here: the pool, the parent's and the child's side of a worker, the plan of a run, the tasks of workers.
May import: base to verdict.
"""
