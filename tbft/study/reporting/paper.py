"""The paper's own figures, kept as data and apart from ours."""

from functools import cache
from importlib.resources import files
from typing import Any

from tbft.schema import block_of

BLOCKS = ("block1", "block2", "block3", "fc")  # blocks of the paper's networks


@cache
def paper_figures() -> dict[str, Any]:
    """Load `paper.yaml`, whose comments give the units.

    Returns:
        `accuracy` by level and training size, `noised_blocks`, `saving` by level, and `headline`.
    """
    import yaml

    return yaml.safe_load(files(__package__).joinpath("paper.yaml").read_text(encoding="utf-8"))


def paper_block(level: str) -> str:
    """Return the block that the paper tunes at a drift level, in its own networks of three stages (its table 1)."""
    return block_of(level, BLOCKS)
