"""A device's own labelled images, given from Python."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tbft.data.batches import Examples
from tbft.data.drift import Drift
from tbft.data.labelled import AUGMENT, LabelledData
from tbft.data.splits import Split, device_split
from tbft.errors import BadInput, check_at_least

log = logging.getLogger(__name__)


class ImageSample(LabelledData):
    """Labelled images in memory, of which a part validates and none tests.

    The split is that of ``DomainData`` with the same images in the same order, whose classes are numbered alike.

    Args:
        x: images ``(N, C, H, W)``, uint8, or floating point as the model takes them.
        y: labels ``(N,)``, int64; ``None`` without labels.
        classes: class names in the order of the model's outputs.
        level: drift level, if somebody named it.
        validation: share of the images that validates; without labels none does.
        batch_size: images in a training batch.
        augment: ``none``, ``crop`` or ``crop_and_flip``, in training only.
        mean: normalisation of uint8 images on the scale 0 to 1.
        std: likewise.
        on_device: move the images to the accelerator once.
        strata: label of each image ``(N,)`` in whose order the split draws from the classes; by default ``y``.
        name: of the images, for the record.
        seed: draws the split and the order of batches.
        must_split: refuse images that are too few to train and to validate; otherwise all of them train.

    Raises:
        BadInput: if there are too few images to train and to validate.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor | None,
        classes: Sequence[str],
        *,
        level: str | None = None,
        validation: float = 0.1,
        batch_size: int = 64,
        augment: Literal["none", "crop", "crop_and_flip"] = "none",
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        on_device: bool = False,
        strata: Tensor | None = None,
        name: str = "images",
        seed: int = 0,
        must_split: bool = True,
    ) -> None:
        super().__init__()
        check_at_least(1, "data", batch_size=batch_size)
        if not 0 < validation < 1:
            raise BadInput(f"validation is {validation}: it is a share between 0 and 1")
        if augment not in AUGMENT:
            raise BadInput(f"augment is {augment!r}: choose one of {', '.join(AUGMENT)}")
        self.labelled = y is not None
        if len(x) < 2 and must_split:
            raise BadInput(f"there is {len(x)} labelled image: one to train and one to validate are the fewest")
        self.name, self.classes, self.level = name, tuple(classes), level
        self.batch_size, self.augment, self.on_device, self.seed = batch_size, augment, on_device, seed
        self.train_size, self.test_names = len(x), []
        labels = y if y is not None else torch.zeros(len(x), dtype=torch.int64)
        self.must_split = must_split
        absent = len(self.classes) - len(labels.unique())
        if self.labelled and must_split and absent:
            log.warning(
                "%d of %d classes have no labelled image, and what is trained on the others will hardly predict them",
                absent,
                len(self.classes),
            )
        split = self._split(labels if strata is None else strata, validation)
        y = labels
        change = AUGMENT[augment]
        self.train = Examples(x[split.train], y[split.train], mean=mean, std=std, augment=change)
        self.val = Examples(x[split.validation], y[split.validation], mean=mean, std=std)
        self.test = Examples(x[:0], y[:0], mean=mean, std=std)

    def _split(self, labels: Tensor, validation: float) -> Split:
        """Which images train and which validate."""
        everything = Split(np.arange(len(labels)), np.arange(0), np.arange(0))
        if not self.labelled:
            return everything
        try:
            return device_split(labels.numpy().astype(np.int64), len(labels), validation, self.seed, test_size=0)
        except BadInput:
            if self.must_split:
                raise
            return everything

    @property
    def drift(self) -> Drift:
        """The level that was named."""
        return Drift(self.level, "unknown")
