"""Load the weights that a run saved, for evaluation."""

from __future__ import annotations

from tbft.data import DomainData
from tbft.models import load_weights, read_weights
from tbft.module import ImageClassifier


def use_weights(module: ImageClassifier, data: DomainData, file: str) -> None:
    """Load a run's weights into a classifier, and number the data's labels by the class names of the weights' file.

    Args:
        module: classifier of the run.
        data: data to evaluate on, not opened yet.
        file: ``model.safetensors`` or a checkpoint.

    Raises:
        BadInput: if the file cannot be read, or belongs to another network.
    """
    left = read_weights(file)
    load_weights(module.model, left)
    module.classes = left.classes or module.classes
    data.base_classes = left.classes or data.base_classes
