"""Shares of a study, for several processes or machines that work on it at the same time."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

from tbft.errors import BadInput
from tbft.study.reporting.ledger_reading import SUPERSEDED, read_cells
from tbft.study.running.grid import STRATEGY, Cell


def share_of(cells: Sequence[Cell], share: str) -> list[Cell]:
    """Divide the cells into shares, and return one share in the order of the cells.

    The strategies at one place on the other axes stay together, so that runs that are compared run on one machine. The
    places are shuffled first, always in the same way, so that no share gets all the expensive ones.

    Args:
        cells: All cells of the study.
        share: Number of the share and number of shares, such as `1/2`.

    Raises:
        BadInput: When `share` is misspelt, or the share has no cell.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", share)
    number, shares = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= shares:
        raise BadInput(f"share is {share!r}: say which one of how many, such as 1/2")
    places = list(dict.fromkeys(map(_place, cells)))
    random.Random(0).shuffle(places)
    mine = set(places[number - 1 :: shares])
    dealt = [cell for cell in cells if _place(cell) in mine]
    if not dealt:
        raise BadInput(f"share is {share}, and there are {len(places)} places to share: take fewer shares")
    return dealt


def check_root(root: Path, cells: Sequence[Cell]) -> None:
    """Refuse a ledger with cells of another share, because they would be marked as superseded.

    Raises:
        BadInput: When the ledger has such cells.
    """
    mine = {cell.key for cell in cells}
    others = [key for key, entry in read_cells(root).items() if key not in mine and not entry.get(SUPERSEDED)]
    if others:
        raise BadInput(
            f"{root} holds cells beside this share's, such as {others[0]}: give each share a --root of its own"
        )


def _place(cell: Cell) -> tuple[tuple[str, str], ...]:
    return tuple((axis, label) for axis, label in cell.labels.items() if axis != STRATEGY)
