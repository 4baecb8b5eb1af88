"""Find out from Python what drifted, from a model and pictures of the domain that it is used in."""

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
    """Find out what drifted, how sure that is, and what to do about it; the model is not changed.

    Example:
        >>> import tbft
        >>> print(tbft.diagnose("digits", images, labels).table())  # doctest: +SKIP

    Args:
        model: the classifier to diagnose, in any form that ``tbft.personalize`` takes.
        images: pictures of the domain that the model is used in, in any form that ``tbft.personalize`` takes.
        labels: class indices or class names, one per image. Without labels and without a source card of the model the
            verdict is ``cannot tell``.
        classes: class names in the order of the model's outputs; by default those that its file holds.
        mean: mean for normalising uint8 images, on the scale 0 to 1; one number or one per channel.
        std: standard deviation for normalising uint8 images, on the same scale.
        image_size: side of the images that the model takes, in pixels.
        seed: seed that draws the batches in which statistics are estimated.

    Returns:
        Verdict, evidence and advice; ``table()`` shows them as text.

    Raises:
        BadInput: if one of the arguments cannot be used.
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
    """Find out what drifted in a part of a data set; the network is unchanged when this returns.

    Args:
        classifier: classifier with the base model's weights, placed on its device.
        examples: images to look at, with their labels.
        labelled: whether the labels are used.
        seed: seed that draws the batches in which statistics are estimated.
    """
    seen = observe(classifier, examples, labelled=labelled, seed=seed)
    card = classifier.card
    chain = classifier.model
    image = examples.__getitems__([0]).x.to(next(chain.parameters()).device).float()
    aligns = card.moments is not None and REFRESHED in seen.samples
    training = estimate_training_passes(chain, image, len(examples), labelled=labelled, aligns=aligns)
    return diagnose_samples(seen.samples, seen.head, card, forward=seen.forward, training=training)
