"""What a run left, put into the network that is evaluated."""

from __future__ import annotations

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
