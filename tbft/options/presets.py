"""Find configurations that ship with tbft (presets) by name."""

from __future__ import annotations

import re
import textwrap
from importlib import resources
from pathlib import Path

from tbft.errors import BadInput
from tbft.paths import is_file, user_path
from tbft.spelling import closest


def folder() -> Path:
    """Return the folder of the shipped configurations, of an installed package or a clone."""
    installed = Path(str(resources.files("tbft"))) / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "configs"


def names() -> list[str]:
    """List the names of all shipped configurations, such as ``feature.yaml`` and ``base/digits.yaml``."""
    return sorted(str(path.relative_to(folder())) for path in folder().rglob("*.yaml"))


def summary(name: str, width: int) -> str:
    """Describe a shipped configuration by the first line of its file, which is a comment.

    Args:
        name: name of the configuration.
        width: most characters to return.

    Returns:
        The first sentence; if that is too long, its part before a semicolon or colon, cut at a word if necessary.
    """
    with (folder() / name).open(encoding="utf-8") as file:
        head = file.readline().strip("#: \n")
    clauses = [re.split(rf"[{stops}](?: |$)", head)[0] for stops in (".", ".;", ".;:")]
    return next((clause for clause in clauses if len(clause) <= width), textwrap.shorten(clauses[-1], width))


def find(name: str) -> Path:
    """Find a configuration file by its path, or a shipped one by its name (with or without ``.yaml``).

    A file of that name in the working folder wins over a shipped one.

    Returns:
        The absolute path of the file.

    Raises:
        BadInput: if there is no such file and no such preset.
    """
    for candidate in (user_path(name), folder() / name, folder() / f"{name}.yaml"):
        if is_file(candidate):
            return candidate.resolve()
    if meant := closest(name.removesuffix(".yaml"), [known.removesuffix(".yaml") for known in names()]):
        raise BadInput(f"no configuration {name!r}: did you mean {meant}.yaml?")
    levels = ", ".join(known for known in names() if "/" not in known)
    raise BadInput(
        f"no configuration {name!r}: give a YAML file, or a preset ({levels}; python -m tbft --help lists all)"
    )
