"""The revision of tbft that runs, recorded to tell whether all runs of a ledger are of the same one."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from tbft import version


@cache
def revision() -> str:
    """Return the commit of a clone, with ``+changes`` if its code or presets differ from it; else tbft's version.

    It is a clone only if ``.git`` lies directly above the package: a package that is installed somewhere inside another
    repository does not belong to that repository.
    """
    root = Path(version.__file__).parent.parent
    if not (root / ".git").exists():
        return version.__version__
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "tbft", "configs")
    except (OSError, subprocess.SubprocessError):  # no git here, or no commit yet
        return version.__version__
    return f"{commit}+changes" if changes else commit


def _git(root: Path, *arguments: str) -> str:
    # Without optional locks, two runs may ask at once and the repository is not written to.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
