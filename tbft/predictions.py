"""Predictions of a classifier for new pictures, and their table as CSV."""

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
    """Prediction for one picture.

    Attributes:
        label: index of the predicted class among the model's outputs.
        name: name of the predicted class.
        confidence: probability of the predicted class, a fraction of 1.
        image: the picture's file, or its position among the given images.
    """

    label: int
    name: str
    confidence: float
    image: str


class Predictions(list[Prediction]):
    """One ``Prediction`` for each picture that could be read, in the order given.

    Args:
        rows: predictions to hold.
        broken: reason for each file that could not be read.
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
            probabilities: probability of each class, ``(N, num_classes)``.
            classes: class names in the order of the outputs; if empty, each class is named by its index.
            images: files or positions of the N pictures.
            broken: reason for each file that could not be read.
        """
        of_classes = np.asarray(probabilities)
        winner, best = of_classes.argmax(axis=1), of_classes.max(axis=1)
        rows = zip(winner.tolist(), best.tolist(), images, strict=True)
        return cls((Prediction(c, classes[c] if classes else str(c), p, image) for c, p, image in rows), broken)

    def to_csv(self, file: str | Path, truth: Sequence[str] | None = None) -> None:
        """Write the predictions as CSV, with the columns ``image``, ``class``, ``confidence`` and ``unreadable``.

        A picture that could be read leaves ``unreadable`` empty; a broken one has its reason there and nothing else.

        Args:
            file: file to write.
            truth: name of each picture's true class, for a further column ``truth``; ``None`` leaves the column out.

        Raises:
            OSError: if the file cannot be written; an older file then stays as it was.
        """
        write_text(Path(file).expanduser(), self.table(truth))

    def table(self, truth: Sequence[str] | None = None) -> str:
        """Return the text that ``to_csv`` writes; bytes of a file name that are not UTF-8 are written as escapes."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        columns = ["image", "class", "confidence", "unreadable"]
        rows = [[row.image, row.name, f"{row.confidence:.4f}", ""] for row in self]
        if truth is not None:
            columns.append("truth")
            rows = [[*row, name] for row, name in zip(rows, truth, strict=True)]
        writer.writerows([columns, *rows])
        rows = [[image, "", "", reason] for image, reason in self.broken.items()]
        writer.writerows([*row, *[""] * (len(columns) - len(row))] for row in rows)
        return table.getvalue().encode(errors="backslashreplace").decode()
