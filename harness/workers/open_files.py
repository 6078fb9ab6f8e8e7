"""How many files a process may have open here. Too few fail anywhere: in a pipe to a worker, in a compile, in a subject."""

import resource

from harness.base.errors import BadInput

# A worker has some 20 open while torch compiles; the parent three for each worker, and its records.
LEAST = 64


def require_open_files() -> None:
    """Raise BadInput where a process may open so few files that a run would fail or hang, and no layer be at fault."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most != resource.RLIM_INFINITY and most < LEAST:
        raise BadInput(
            f"the machine: a process may have {most} files open, and a run needs {LEAST}; raise it, as by `ulimit -n 1024`"
        )
