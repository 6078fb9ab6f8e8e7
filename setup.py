"""What pyproject.toml cannot say: the wheel also carries the in-tree layer, its corpus and the pages of docs/."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# From the checkout, to the package: the layer and its faults with the table that names them.
SHIPPED = {
    "kernels": "in_tree/kernels",
    "fixtures": "in_tree/fixtures",
    "pyproject.toml": "in_tree/pyproject.toml",
    "docs": "docs",
}


class BuildWithInTree(build_py):
    """Copies what is shipped beside the package's own modules."""

    def run(self) -> None:
        """Build, and copy; an editable install finds all of it in the checkout."""
        super().run()
        if not self.editable_mode:
            for source, target in SHIPPED.items():
                _copy(Path(source), Path(self.build_lib) / "harness" / target)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)  # build/ outlives a build, and with it what was deleted since
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]"))
    else:
        shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithInTree})
