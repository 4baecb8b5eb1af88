"""The remedy for output-level drift: solve the head in closed form, from as few images as validation allows."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from tbft.adaptation.features import features_of
from tbft.data.labelled import LabelledData
from tbft.errors import check_at_least
from tbft.models.classifier import Classifier
from tbft.models.head import SolvedHead, solve_head
from tbft.models.statistics import inference_mode_of
from tbft.remedies.enough_images import FIRST_OF_EACH, solve_from_enough

log = logging.getLogger(__name__)


class ClosedFormHead:
    """Solves the head in closed form instead of training it, where ``fc`` is the only target; no epoch runs then.

    Features are computed once, for a growing number of training images (``solve_from_enough``).

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
        train, labels = data.train, data.val.y
        validation = features_of(classifier, data.val, "fc")
        data.enter_at("fc", val=validation)
        # Positions in a split are sorted, so a draw keeps every share representative.
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(data.seed)).tolist()
        x, y = validation[:0], train.y[:0]

        def solve(size: int) -> tuple[SolvedHead, Tensor]:
            nonlocal x, y
            part = order[len(y) : size]
            x = torch.cat([x, features_of(classifier, train.subset(part), "fc")])
            y = torch.cat([y, train.y[part]])
            head = solve_head((x, y), (validation, labels), classifier.num_classes)
            return head, head.right

        limit = min(self.images or len(order), len(order))
        head, self.used = solve_from_enough(solve, limit, self.images or FIRST_OF_EACH * classifier.num_classes)
        return head
