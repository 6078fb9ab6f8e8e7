"""The start script of a process that runs vLLM: ``python -P boot.py [TREE]``. It needs only the standard library.

It imports the harness by its path, so that nothing else of the checkout is importable. Otherwise transformers would import
the checkout's ``kernels`` in place of Hugging Face's package of that name.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]


def clean(path: list[str]) -> list[str]:
    """The import path without folders that contain the harness's own ``kernels``."""
    return [entry for entry in path if not Path(entry, "kernels", "layer", "nvfp4.py").is_file()]


def keep_bytecode() -> None:
    """Write bytecode to the harness's own environment even if Python must not write any beside the sources.

    The environment was installed uncompiled, and compiling all that vLLM imports takes ten seconds in each process.
    """
    if sys.dont_write_bytecode:
        sys.pycache_prefix, sys.dont_write_bytecode = str(Path(sys.prefix, "bytecode")), False


def main() -> int:
    """Import the harness, put the tree in front of the import path, and run as a worker."""
    if sys.argv[1:]:
        keep_bytecode()
    sys.path[:] = [*sys.argv[1:], *clean(sys.path)]
    spec = importlib.util.spec_from_file_location(
        "harness", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["harness"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    from harness.workers.worker import main as serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
