"""The images of a device that are given from Python, with or without labels."""

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
    """Images in memory, split into a training and a validation part; the test part is empty.

    The split is the same as that of ``DomainData`` for the same images in the same order, if ``strata`` numbers the
    classes as the data set does.

    Args:
        x: images ``(N, C, H, W)``, uint8, or floating point as the model takes them.
        y: class indices ``(N,)``, int64; ``None`` without labels.
        classes: class names in the order of the model's outputs.
        level: drift level; ``None`` if nobody named one.
        validation: share of the images that is used for validation; without labels none is.
        batch_size: number of images in a training batch.
        augment: augmentation of training images: ``none``, ``crop`` or ``crop_and_flip``.
        mean: mean for normalising uint8 images, on the scale 0 to 1.
        std: standard deviation for normalising uint8 images, on the same scale.
        on_device: whether to move the images to the accelerator once, instead of batch by batch.
        strata: class index of each image ``(N,)``, in whose order the split draws from the classes; by default ``y``.
        name: name of the images, for the record.
        seed: seed that draws the split and the order of batches.
        must_split: whether to refuse images that are too few to train and validate. If not, all of them train in such
            a case.

    Raises:
        BadInput: if an argument is outside its range, or ``must_split`` is set and there are too few images.
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
        """Divide the images into those for training and those for validation."""
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
        """The drift level that was named, if any; the drift's name is not known."""
        return Drift(self.level, "unknown")
