"""The paper's own figures, kept as data so that they can never pass for ours."""

from functools import cache
from importlib.resources import files
from typing import Any


@cache
def paper_figures() -> dict[str, Any]:
    """Load `paper.yaml`, whose comments give the units.

    Returns:
        `accuracy` by level and training size, `noised_blocks`, `saving` by level, and `headline`.
    """
    import yaml

    return yaml.safe_load(files(__package__).joinpath("paper.yaml").read_text(encoding="utf-8"))
