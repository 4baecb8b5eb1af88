"""Tags of a cell in W&B: its label on every axis, and its drift level."""

from tbft.study.running.cell_options import options_of_configs
from tbft.study.running.grid import Cell

LONGEST = 64  # most characters of a tag in W&B


def tags_of(cell: Cell) -> list[str]:
    """Return tags such as `drift:fog`, `seed:0`, `level:input`.

    The level is that of the cell's presets and options; there is no such tag if they leave the level to the data. The
    run itself adds tags that only it knows, such as `block:block4`.
    """
    tags = [f"{axis}:{label}" for axis, label in cell.labels.items()]
    level = _level(cell)
    tags += [f"level:{level}"] * bool(level)
    return [tag[:LONGEST] for tag in dict.fromkeys(tags)]


def _level(cell: Cell) -> str | None:
    """Return the drift level that the cell's presets and options name; a later one wins."""
    level = None
    for option, value in zip(cell.arguments[::2], cell.arguments[1::2], strict=True):
        if option == "--config":
            level = options_of_configs([value]).get("freeze.level", level)
        elif option == "--freeze.level":
            level = value
    return level
