"""The table of ``test`` and ``validate``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tbft.adaptation.score import Tally

_CLASSES_SHOWN = 20


def print_scores(part: str, tally: Tally, classes: Sequence[str]) -> None:
    """Print loss and accuracy, and the accuracy of each class; of many classes the least accurate ones.

    Args:
        part: ``val`` or ``test``.
        tally: of all images of the part.
        classes: names in the order of the outputs.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    score = tally.score()
    labels = tally.labels.cpu()
    images = torch.bincount(labels, minlength=len(classes)).tolist()
    right = torch.bincount(labels[score.right], minlength=len(classes)).tolist()
    shown = [position for position in range(len(classes)) if images[position]]
    if len(shown) > _CLASSES_SHOWN:
        shown = sorted(shown, key=lambda position: right[position] / images[position])[:_CLASSES_SHOWN]
    table = Table(min_width=60)
    table.add_column("", overflow="fold")
    for title in ("accuracy", "right", "images"):
        table.add_column(title, justify="right")
    table.add_row(f"{part}/accuracy", f"{score.accuracy:.6f}", str(score.correct), str(len(score.right)))
    table.add_row(f"{part}/loss", f"{score.loss:.6f}", "", "", end_section=True)
    for position in shown:
        accuracy = f"{100 * right[position] / images[position]:.1f} %"
        table.add_row(escape(classes[position]), accuracy, str(right[position]), str(images[position]))
    if left_out := sum(map(bool, images)) - len(shown):
        table.add_row(f"{left_out} classes with a higher accuracy", "", "", "")
    Console().print(table)
