"""The remedy for output-level drift: solve the head in closed form, from as few images as validation allows."""

from __future__ import annotations

import logging

import torch

from tbft.adaptation.features import features_of
from tbft.data.labelled import LabelledData
from tbft.errors import check_at_least
from tbft.models.classifier import Classifier
from tbft.models.head import SolvedHead, solve_head
from tbft.models.statistics import inference_mode_of
from tbft.remedies.evidence import sign_test
from tbft.remedies.validated import differing

log = logging.getLogger(__name__)

_LEVEL = 0.1
"""Largest p-value of the sign test at which a gain on the validation images leads to more training images.

On digits and CIFAR-10 with flipped labels (200 to 2,000 images, 24 splits) the rule took the same number of images with
features in fp32 and in bfloat16 each time. A rule that asks for a gain of one standard error of the accuracy took 720
images in one format and 200 in the other on one split, and its heads were no better.
"""


class ClosedFormHead:
    """Solves the head in closed form instead of training it, where ``fc`` is the only target; no epoch runs then.

    Features are computed once, for a growing number of training images. The number doubles as long as the larger one
    gives a head that is better on the validation images (exact sign test on the images that only one of the two heads
    gets right, p at most 0.1). Whole images are counted, so rounding matters only where it changes a predicted class.

    Args:
        solve: whether to solve the head; off leaves the head to the optimiser.
        images: number of training images to solve from, at least 2; ``None`` lets validation decide, beginning with
            10 per class.

    Raises:
        BadInput: if ``images`` is below 2.

    Attributes:
        used: number of training images that the head was solved from.
    """

    def __init__(self, solve: bool = False, images: int | None = None) -> None:
        check_at_least(2, "head", images=images)  # the penalty is in units of the features' variance
        self.solve, self.images, self.used = solve, images, 0

    def solve_into(self, classifier: Classifier, data: LabelledData) -> None:
        """Replace the classifier's head by the solved one. Afterwards the validation part of the data holds features.

        Args:
            classifier: classifier whose head is one linear layer on features.
            data: training and validation images.
        """
        if data.augment != "none":
            log.warning("the head is solved from one view of each image: data.augment %s changes them", data.augment)
        with inference_mode_of(classifier.model):
            head = self._solve_from(classifier, data)
        classifier.model.head.load_state_dict(head.layer.state_dict())
        log.info("the head is solved from %d images (penalty %g)", self.used, head.penalty)

    def _solve_from(self, classifier: Classifier, data: LabelledData) -> SolvedHead:
        """Solve from more and more images until validation no longer gains; return the head that validates best."""
        assert data.train is not None and data.val is not None
        classes = classifier.num_classes
        validation = features_of(classifier, data.val, "fc")
        data.enter_at("fc", val=validation)
        # Positions in a split are sorted; in a random order the first images of any number are representative.
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(data.seed)).tolist()
        size = min(self.images or 10 * classes, len(order))
        x, y = validation[:0], data.train.y[:0]
        best: SolvedHead | None = None
        newest: SolvedHead | None = None
        while True:
            part = order[len(y) : size]
            x = torch.cat([x, features_of(classifier, data.train.subset(part), "fc")])
            y = torch.cat([y, data.train.y[part]])
            head = solve_head((x, y), (validation, data.val.y), classes)
            better, worse = differing(newest.right, head.right) if newest else (0, 0)
            if best is None or head.right.sum() >= best.right.sum():  # of equally good heads, the one from more images
                best, self.used = head, size
            if self.images or size == len(order) or (newest and sign_test(better, worse) > _LEVEL):
                return best
            newest, size = head, min(2 * size, len(order))
