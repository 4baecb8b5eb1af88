"""By which tags a cell is found in W&B: its place on every axis, its drift level and the blocks that it tunes."""

from typing import Any

import yaml

from tbft.presets import find
from tbft.study.grid import Cell
from tbft.study.record import LEVEL_BLOCK

LONGEST = 64  # characters that W&B takes


def tags_of(cell: Cell) -> list[str]:
    """Tags such as `drift:fog`, `seed:0`, `level:input`, `block:block1`.

    Level and blocks are those of the cell's presets and options; where these leave the level to the data, there is
    no tag of it, and the run's own tags say it.
    """
    freeze = _freeze(cell)
    level, blocks = freeze.get("level"), freeze.get("blocks")
    if blocks is None:
        blocks = [LEVEL_BLOCK[level]] if level in LEVEL_BLOCK else []
    tags = [f"{axis}:{label}" for axis, label in cell.labels.items()]
    tags += [f"level:{level}"] * bool(level) + [f"block:{block}" for block in blocks]
    return [tag[:LONGEST] for tag in dict.fromkeys(tags)]


def _freeze(cell: Cell) -> dict[str, Any]:
    """What the cell's presets and options say of `freeze`, the later over the earlier."""
    freeze: dict[str, Any] = {}
    for option, value in zip(cell.arguments[::2], cell.arguments[1::2], strict=True):
        if option == "--config":
            preset = yaml.safe_load(find(value).read_text(encoding="utf-8")) or {}
            freeze |= preset.get("freeze") or {}
        elif option.startswith("--freeze."):
            freeze[option.removeprefix("--freeze.")] = yaml.safe_load(value)
    return freeze
