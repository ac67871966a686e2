"""
What a release consists of: ``make release-check`` builds it into ``dist/``, after its tests have passed.

The tests are in ``tests/system/test_wheel.py``; here is how the packages are built and installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from dev.places import REPOSITORY

UV = str(Path(sys.executable).parent / "uv")


def main() -> int:
    """Build the packages into ``dist/`` and name them."""
    for package in packages(REPOSITORY / "dist"):
        print(f"{package.relative_to(REPOSITORY)}, {package.stat().st_size / 1024:.0f} KB")
    return 0


def packages(folder: Path) -> tuple[Path, Path]:
    """Build wheel and sdist into a folder, emptied before, and return them."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [UV, "build", "--quiet", "--wheel", "--sdist", "--out-dir", str(folder), str(REPOSITORY)], check=True
    )
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def installed_alone(wheel: Path, folder: Path, extra: str = "", *more: str) -> Path:
    """Install a wheel, with an extra and more packages if named, into an environment; return its Python."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(python.parent.parent)], check=True)
    constraints = REPOSITORY / "constraints.txt"
    install = [UV, "pip", "install", "--quiet", "--python", str(python), "-c", str(constraints)]
    subprocess.run([*install, f"{wheel}[{extra}]" if extra else str(wheel), *more], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
