"""The interface of a remedy, and what it leaves behind."""

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
    """What a cost depends on.

    Attributes:
        images: N.
        features: F.
        classes: C.
        forward: multiply-adds of one image's forward pass.
    """

    images: int
    features: int
    classes: int
    forward: float = 0.0


@dataclass(frozen=True)
class Adapted:
    """A head, and the class prior for which it is right.

    Attributes:
        head: features to logits.
        prior: share of each class ``(C,)`` that its logits take for granted.
    """

    head: Head
    prior: Floats


@dataclass(frozen=True)
class Fit:
    """What a remedy makes of a sample, with what it would have made of it without each image's label.

    Attributes:
        whole: from all images; this is what is saved.
        held_out: fits that saw all labels but one, and the images ``(n,)`` whose label each of them did not see.
            The images of all of them are the sample. Empty where every image has its own and ``logits`` alone tells.
        logits: of each image by a head that did not see its label ``(N, C)``.
        detail: what was chosen, in plain words, for the record.
    """

    whole: Adapted
    held_out: tuple[tuple[Adapted, Ints], ...]
    logits: Floats
    detail: str = ""

    @classmethod
    def of(cls, whole: Adapted, held_out: Iterable[tuple[Adapted, Ints]], sample: Sample, detail: str = "") -> Fit:
        """A fit whose held-out logits follow from its held-out heads."""
        held_out = tuple(held_out)
        logits = np.empty((len(sample), whole.head.num_classes))
        for adapted, images in held_out:
            logits[images] = adapted.head.logits(sample.features[images])
        return cls(whole, held_out, logits, detail)

    @classmethod
    def unchanged(cls, head: Head, card: SourceCard, sample: Sample) -> Fit:
        """The head as it ships, which has seen no label of the sample."""
        adapted = Adapted(head, card.prior_of(head.num_classes))
        return cls.of(adapted, [(adapted, np.arange(len(sample)))], sample)


class Remedy(ABC):
    """One way to bring a classifier back that needs forward passes alone.

    Attributes:
        name: in records and on the command line.
        needs_labels: whether it can do nothing without labels.
        needs_gradients: whether it trains; none of this package does.
        changes: the part of the network that is another one afterwards.
    """

    name: ClassVar[str]
    needs_labels: ClassVar[bool]
    needs_gradients: ClassVar[bool] = False
    changes: ClassVar[Changes]

    @abstractmethod
    def cost(self, size: Size) -> float:
        """Estimated multiply-adds beyond the forward pass of the sample."""

    @abstractmethod
    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Change a head on the evidence of a sample.

        Args:
            fit: the head so far.
            sample: under the statistics with which the head will be used.
            card: what is known of the source.

        Returns:
            A fit whose head can be saved in place of the shipped one.
        """
