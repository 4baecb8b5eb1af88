"""What the network as it stands makes of images: loss and accuracy, predictions."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from torch import Tensor

from tbft.atomic import write_text
from tbft.data import DomainData
from tbft.models import load_weights, read_weights
from tbft.module import ImageClassifier


def use_weights(module: ImageClassifier, data: DomainData, file: str) -> None:
    """Put what a run left into its network, and bring the data's labels to the class names that it is said to know.

    Args:
        module: the run's classifier.
        data: to evaluate on, not opened yet.
        file: ``model.safetensors`` or a checkpoint.

    Raises:
        BadInput: if the file cannot be read, or belongs to another network.
    """
    left = read_weights(file)
    load_weights(module.model, left)
    module.classes = left.classes or module.classes
    data.base_classes = left.classes or data.base_classes


def write_predictions(file: Path, probabilities: Tensor, data: DomainData) -> None:
    """Write a table of the test images: image, label, predicted class and its probability.

    Args:
        file: CSV file; its folder is made.
        probabilities: of the classes ``(N, C)``, in the order of the test images.
        data: whose test images they are.
    """
    assert data.test is not None
    best, winner = probabilities.max(1)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["image", "label", "predicted", "probability"])
    rows = zip(data.test_names, data.test.y.tolist(), winner.tolist(), best.tolist(), strict=True)
    names = data.classes
    writer.writerows([image, names[y], names[c], f"{p:.4f}"] for image, y, c, p in rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, table.getvalue())
