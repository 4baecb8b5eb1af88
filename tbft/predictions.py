"""What a classifier says of new pictures, one row a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tbft.atomic import write_text


class Prediction(NamedTuple):
    """One picture.

    Attributes:
        label: the predicted class, as the model numbers it.
        name: its name.
        confidence: its probability, a fraction of 1.
        image: the picture's file, or its position among the images that were given.
    """

    label: int
    name: str
    confidence: float
    image: str


class Predictions(list[Prediction]):
    """One ``Prediction`` for each picture that could be read, in the order given.

    Args:
        rows: the predictions.
        broken: files that could not be read, and why.
    """

    def __init__(self, rows: Iterable[Prediction] = (), broken: dict[str, str] | None = None) -> None:
        super().__init__(rows)
        self.broken = dict(broken or {})

    @classmethod
    def of(
        cls,
        probabilities: ArrayLike,
        classes: Sequence[str],
        images: Sequence[str],
        broken: dict[str, str] | None = None,
    ) -> Predictions:
        """Take the most probable class of each picture.

        Args:
            probabilities: ``(N, num_classes)``.
            classes: names in the order of the outputs; empty names each by its number.
            images: files or positions, N of them.
            broken: files that could not be read, and why.
        """
        of_classes = np.asarray(probabilities)
        winner, best = of_classes.argmax(axis=1), of_classes.max(axis=1)
        rows = zip(winner.tolist(), best.tolist(), images, strict=True)
        return cls((Prediction(c, classes[c] if classes else str(c), p, image) for c, p, image in rows), broken)

    def to_csv(self, file: str | Path, truth: Sequence[str] | None = None) -> None:
        """Write a table with the columns ``image``, ``class`` and ``confidence``; a broken picture has a reason.

        Args:
            file: to write.
            truth: name of each picture's true class, which has a column of its own; ``None`` where nobody knows.

        Raises:
            OSError: if it cannot be written; an older file then stays as it was.
        """
        write_text(Path(file).expanduser(), self.table(truth))

    def table(self, truth: Sequence[str] | None = None) -> str:
        """The table that ``to_csv`` writes; bytes of a file's name that are no UTF-8 are written as escapes."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        columns = ["image", "class", "confidence", "unreadable"]
        rows = [[row.image, row.name, f"{row.confidence:.4f}", ""] for row in self]
        if truth is not None:
            columns.append("truth")
            rows = [[*row, name] for row, name in zip(rows, truth, strict=True)]
        writer.writerows([columns, *rows])
        writer.writerows([image, "", "", reason] for image, reason in self.broken.items())
        return table.getvalue().encode(errors="backslashreplace").decode()
