"""Configurations that ship with tbft, found by bare name."""

from __future__ import annotations

import re
import textwrap
from importlib import resources
from pathlib import Path

from tbft.errors import BadInput
from tbft.paths import is_file, user_path
from tbft.spelling import closest


def folder() -> Path:
    """The folder of the shipped configurations, installed or in a clone."""
    installed = Path(str(resources.files("tbft"))) / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "configs"


def names() -> list[str]:
    """Every shipped configuration by the name that finds it, e.g. ``feature.yaml``, ``base/digits.yaml``."""
    return sorted(str(path.relative_to(folder())) for path in folder().rglob("*.yaml"))


def summary(name: str, width: int) -> str:
    """What a shipped configuration is for, in so many columns: the sentence at its head, or the clause that fits."""
    with (folder() / name).open(encoding="utf-8") as file:
        head = file.readline().strip("#: \n")
    clauses = [re.split(rf"[{stops}](?: |$)", head)[0] for stops in (".", ".;", ".;:")]
    return next((clause for clause in clauses if len(clause) <= width), textwrap.shorten(clauses[-1], width))


def find(name: str) -> Path:
    """A configuration file by path, or a shipped one by name (with or without ``.yaml``).

    A file of that name in the working folder wins over a shipped one.

    Raises:
        BadInput: if there is neither.
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
