"""Output-level drift: the head is solved, from as many images as it takes."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.callbacks.block_freeze import BlockFreezeCallback
from tbft.callbacks.feature_cache import features_of
from tbft.data import DomainData
from tbft.errors import BadInput, check_at_least
from tbft.models.head import SolvedHead, solve_head
from tbft.models.statistics import inference_mode_of
from tbft.module import ImageClassifier

log = logging.getLogger(__name__)


class ClosedFormHeadCallback(Callback):
    """Solves the head instead of training it, where ``fc`` is the only target: no epoch runs then.

    Features are computed once, for a growing share of the training images: it doubles as long as the solved
    head gains more on the validation images than one standard error of their accuracy.

    Args:
        solve: whether to solve; off leaves the head to the optimiser.
        images: training images to solve from, at least 2; ``None`` lets validation decide, beginning with 10 a
            class.

    Raises:
        BadInput: if there are too few, or the head is no linear layer.

    Attributes:
        used: training images that the head is solved from.
    """

    def __init__(self, solve: bool = False, images: int | None = None) -> None:
        check_at_least(2, "head", images=images)  # the penalty is in units of the features' variance
        self.solve, self.images, self.used = solve, images, 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the solver with the other libraries, before the run's phases begin."""
        if stage == "fit" and self.solve:
            import sklearn.linear_model  # noqa: F401

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Solve, if the head alone is the target."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        freeze = next(c for c in trainer.callbacks if isinstance(c, BlockFreezeCallback))  # type: ignore[attr-defined]
        assert isinstance(pl_module, ImageClassifier) and isinstance(data, DomainData)
        if not self.solve or freeze.target != ("fc",):
            return
        if not pl_module.model.linear_head:
            raise BadInput(
                f"the head of {pl_module.architecture} is more than one linear layer on features and cannot be solved: "
                "give --head.solve false to train it"
            )
        if data.augment != "none":
            log.warning("the head is solved from one view of each image: data.augment %s changes them", data.augment)
        with inference_mode_of(pl_module.model):
            head = self.solve_from(pl_module, data)
        pl_module.model.head.load_state_dict(head.layer.state_dict())
        trainer.should_stop = True  # what is solved needs no epoch
        log.info("the head is solved from %d images (penalty %g)", self.used, head.penalty)

    def solve_from(self, module: ImageClassifier, data: DomainData) -> SolvedHead:
        """Grow the sample until validation no longer gains, and give the head that validates best."""
        assert data.train is not None and data.val is not None
        classes = module.num_classes
        validation = features_of(module, data.val, "fc")
        data.enter_at("fc", val=validation)
        # Positions in a split are sorted, so a draw keeps every share representative.
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(data.seed)).tolist()
        size = min(self.images or 10 * classes, len(order))
        x, y = validation[:0], data.train.y[:0]
        best: SolvedHead | None = None
        while True:
            part = order[len(y) : size]
            x = torch.cat([x, features_of(module, data.train.subset(part), "fc")])
            y = torch.cat([y, data.train.y[part]])
            head = solve_head((x, y), (validation, data.val.y), classes)
            gain = head.accuracy - best.accuracy if best else 1.0
            if gain >= 0:  # of equals the one from more images
                best, self.used = head, size
            error = math.sqrt(head.accuracy * (1 - head.accuracy) / len(data.val))
            if self.images or size == len(order) or gain <= error:
                assert best is not None
                return best
            size = min(2 * size, len(order))
