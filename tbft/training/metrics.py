"""Metrics of a score, for loggers."""

from __future__ import annotations

from collections.abc import Sequence

from torchmetrics.functional.classification import multiclass_stat_scores

from tbft.adaptation.score import Tally


def metrics_of(part: str, tally: Tally, classes: Sequence[str]) -> dict[str, float]:
    """Return loss, accuracy, and accuracy on the images of each class (0 for a class without images), by metric name.

    Args:
        part: ``val`` or ``test``, the beginning of each metric's name.
        tally: losses and predictions of all images of the part.
        classes: class names in the order of the outputs.
    """
    score = tally.score()
    counts = multiclass_stat_scores(tally.predicted, tally.labels, num_classes=len(classes), average=None)
    of_class = {name: int(row[0]) / max(int(row[4]), 1) for name, row in zip(classes, counts, strict=True)}
    named = {f"{part}/accuracy_of/{name}": accuracy for name, accuracy in of_class.items()}
    return {f"{part}/loss": score.loss, f"{part}/accuracy": score.accuracy, **named}
