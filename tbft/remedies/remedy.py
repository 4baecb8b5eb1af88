"""The interface of a remedy, and the fit that it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tbft.remedies.card import SourceCard
from tbft.remedies.sample import Floats, Head, Ints, Sample

Changes = Literal["nothing", "bias", "head", "statistics"]


@dataclass(frozen=True)
class Size:
    """Sizes that the cost of a remedy depends on.

    Attributes:
        images: number of images N.
        features: number of features F.
        classes: number of classes C.
        forward: multiply-adds of one image's forward pass.
    """

    images: int
    features: int
    classes: int
    forward: float = 0.0


@dataclass(frozen=True)
class Adapted:
    """A head, and the class prior that its logits assume.

    Attributes:
        head: linear layer from features to logits.
        prior: share of each class ``(C,)``.
    """

    head: Head
    prior: Floats


@dataclass(frozen=True)
class Fit:
    """Fit of a remedy to a sample, and its fits without the label of each image.

    Attributes:
        whole: fit to all images, which is saved.
        held_out: pairs of a fit and the positions ``(n,)`` of the images whose label it did not see. Each image is in
            one pair. Empty if the held-out fits are all different and only their ``logits`` were computed.
        logits: logits of each image by a head that did not see its label ``(N, C)``.
        detail: what was fitted, in words, for the record.
    """

    whole: Adapted
    held_out: tuple[tuple[Adapted, Ints], ...]
    logits: Floats
    detail: str = ""

    @classmethod
    def of(cls, whole: Adapted, held_out: Iterable[tuple[Adapted, Ints]], sample: Sample, detail: str = "") -> Fit:
        """Return a fit, with the held-out logits computed from the held-out heads.

        Args:
            whole: fit to all images.
            held_out: pairs of a held-out fit and the positions of its images.
            sample: the sample.
            detail: what was fitted, in words.
        """
        held_out = tuple(held_out)
        logits = np.empty((len(sample), whole.head.num_classes))
        for adapted, images in held_out:
            logits[images] = adapted.head.logits(sample.features[images])
        return cls(whole, held_out, logits, detail)

    @classmethod
    def unchanged(cls, head: Head, card: SourceCard, sample: Sample) -> Fit:
        """Return the fit of the base model's head, which has seen no label of the sample."""
        adapted = Adapted(head, card.prior_of(head.num_classes))
        return cls.of(adapted, [(adapted, np.arange(len(sample)))], sample)


class Remedy(ABC):
    """A way to restore a classifier's accuracy with forward passes only.

    Attributes:
        name: name in records and on the command line.
        needs_labels: whether the remedy needs labels.
        needs_gradients: whether the remedy trains with gradients; none in this package does.
        changes: part of the network that the remedy changes.
    """

    name: ClassVar[str]
    needs_labels: ClassVar[bool]
    needs_gradients: ClassVar[bool] = False
    changes: ClassVar[Changes]

    @abstractmethod
    def cost(self, size: Size) -> float:
        """Return the estimated multiply-adds beyond the forward pass of the sample."""

    @abstractmethod
    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Fit the remedy to a sample.

        Args:
            fit: fit of the remedies applied before.
            sample: sample under the statistics with which the head will be used.
            card: source card of the base model.

        Returns:
            Fit whose head can be saved in place of the base model's.
        """
