"""What drifted, asked from Python: a model and pictures of the domain that it is used in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tbft.adaptation.adaptation import choose_device
from tbft.adaptation.observation import observe
from tbft.data.batches import Examples
from tbft.data.images import Images
from tbft.diagnosis import Diagnosis
from tbft.diagnosis import diagnose as diagnose_samples
from tbft.given_images import read_given, side_of
from tbft.given_model import classifier_of
from tbft.models.classifier import Classifier
from tbft.own_state import checked_seed, own_state
from tbft.personalized import Model
from tbft.remedies import REFRESHED
from tbft.training.cost import estimate_training_passes


def diagnose(
    model: nn.Module | Model | str | Path,
    images: Images,
    labels: Any = None,
    *,
    classes: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Say what drifted, how sure that is, and what to do about it; nothing is changed.

    Example:
        >>> import tbft
        >>> print(tbft.diagnose("digits", images, labels).table())  # doctest: +SKIP

    Args:
        model: see ``tbft.personalize``; likewise what follows.
        images: likewise.
        labels: one an image. Without labels it takes a base model with a source card.
        classes: class names in the order of the model's outputs.
        mean: normalisation of uint8 images on the scale 0 to 1.
        std: likewise.
        image_size: side of the images that the model takes, in pixels.
        seed: draws the batches in which statistics are estimated.

    Raises:
        BadInput: if something given cannot be used.
    """
    seed = checked_seed(seed)
    size = side_of(images) if image_size is None else image_size
    with own_state(), classifier_of(model, size=size, mean=mean, std=std) as (classifier, _):
        given = read_given(classifier, images, labels, classes=classes, normalised=mean is not None)
        classifier.place(choose_device("cpu"))
        y = given.y if given.y is not None else given.x.new_zeros(len(given.x)).long()
        examples = Examples(given.x, y, mean=classifier.mean or (0.5,), std=classifier.std or (0.5,))
        return diagnose_examples(classifier, examples, labelled=given.y is not None, seed=seed)


def diagnose_examples(classifier: Classifier, examples: Examples, *, labelled: bool, seed: int = 0) -> Diagnosis:
    """Say what drifted in a part of a data set; the network is as before when this returns.

    Args:
        classifier: with the base model's weights, placed on its device.
        examples: images.
        labelled: whether their labels count.
        seed: draws the batches in which statistics are estimated.
    """
    seen = observe(classifier, examples, labelled=labelled, seed=seed)
    card = classifier.card
    chain = classifier.model
    image = examples.__getitems__([0]).x.to(next(chain.parameters()).device).float()
    aligns = card.moments is not None and REFRESHED in seen.samples
    training = estimate_training_passes(chain, image, len(examples), labelled=labelled, aligns=aligns)
    return diagnose_samples(seen.samples, seen.head, card, forward=seen.forward, training=training)
