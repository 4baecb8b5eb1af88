"""Scores and predictions of a classifier on images."""

from __future__ import annotations

import torch
from torch import Tensor

from tbft.adaptation.score import Tally
from tbft.data.batches import Examples
from tbft.models.classifier import Classifier
from tbft.models.statistics import inference_mode_of
from tbft.progress import with_bar
from tbft.remedies.validated import Score


def evaluate(classifier: Classifier, examples: Examples, batch_size: int = 128) -> Score:
    """Score a classifier on labelled images, in inference mode; the modes are restored at the end.

    Args:
        classifier: the classifier.
        examples: labelled images.
        batch_size: images in one forward pass.
    """
    return tally(classifier, examples, batch_size).score()


@torch.no_grad()
def tally(classifier: Classifier, examples: Examples, batch_size: int = 128) -> Tally:
    """Collect a classifier's predictions and losses on labelled images, in inference mode.

    Args:
        classifier: the classifier.
        examples: labelled images.
        batch_size: images in one forward pass.
    """
    found, device = Tally(), next(classifier.parameters()).device
    loader = examples.loader(batch_size)
    with inference_mode_of(classifier.model):
        for batch in with_bar(loader, len(loader), f"classifying {len(examples)} images"):
            found.add(classifier(batch._replace(x=batch.x.to(device))), batch.y.to(device))
    return found


@torch.no_grad()
def predict(classifier: Classifier, images: Tensor, batch_size: int = 128) -> Tensor:
    """Return the class probabilities ``(N, num_classes)`` of images, in processor memory; run in inference mode.

    Args:
        classifier: the classifier.
        images: ``(N, C, H, W)``, uint8, or floating point already normalised for the model.
        batch_size: images in one forward pass.
    """
    labels = torch.zeros(len(images), dtype=torch.int64)
    examples = Examples(images, labels, mean=classifier.mean, std=classifier.std)
    device, parts = next(classifier.parameters()).device, []
    loader = examples.loader(batch_size)
    with inference_mode_of(classifier.model):
        for batch in with_bar(loader, len(loader), f"classifying {len(images)} images"):
            parts.append(classifier(batch._replace(x=batch.x.to(device))).softmax(1).cpu())
    return torch.cat(parts)
