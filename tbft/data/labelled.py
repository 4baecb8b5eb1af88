"""Labelled images as a run uses them: parts that train, validate and test, served in batches."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tbft.data import augment as augmentations
from tbft.data.batches import Batch, Examples
from tbft.data.drift import Drift
from tbft.errors import BadInput

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

log = logging.getLogger(__name__)
AUGMENT = {"none": None, "crop": augmentations.crop, "crop_and_flip": augmentations.crop_and_flip}


class LabelledData:
    """The labelled images of a run.

    Attributes:
        name: of the data set, for records.
        classes: class names in the order of the model's outputs.
        train, val, test: the parts, once they are opened; an empty test part is skipped.
        test_names: names of the test images, such as their files.
        train_size: labelled images in all, validation included; ``None`` if nobody said how many.
        batch_size: images in a training batch.
        augment: ``none``, ``crop`` or ``crop_and_flip``, in training only.
        workers: processes that read pictures which do not lie in memory.
        on_device: move pictures that lie in memory to the accelerator once, instead of batch by batch.
        labelled: whether the labels count; without them nothing is held out.
        must_split: refuse images that lack a class, or are too few to train and to validate; otherwise all that are
            there train.
        skipped: broken pictures that were left out on request.
        reading_test: CPU-seconds and seconds that reading the test images took, which no adaptation needs.
        seed: draws the split and the order of batches.
    """

    name = "images"
    classes: tuple[str, ...] = ()
    train: Examples | None = None
    val: Examples | None = None
    test: Examples | None = None
    test_names: list[str]
    train_size: int | None = None
    batch_size = 64
    augment = "none"
    workers = 0
    on_device = False
    labelled = True
    must_split = True
    skipped = 0
    reading_test = (0.0, 0.0)
    seed = 0

    @property
    def drift(self) -> Drift:
        """What changed against the source domain, as far as somebody said."""
        return Drift(None, "unknown")

    def enter_at(self, start: str, *, val: Tensor, train: Tensor | None = None) -> None:
        """From now on serve these features, which enter the chain at ``start``, instead of the pictures.

        Args:
            start: link of the chain that takes the features.
            val: features of the validation images, in their order ``(N, ...)``.
            train: features of the training images; ``None`` leaves these as they are.
        """
        assert self.train is not None and self.val is not None
        if train is not None:
            self.train = Examples(train, self.train.y, start=start)
        self.val = Examples(val, self.val.y, start=start)

    def move_to(self, device: torch.device) -> None:
        """Move the pictures that lie in memory to a device once, if ``on_device`` asks for it.

        Cached features stay where the cache keeps them. Where the device has no room for all pictures, they cross
        batch by batch.
        """
        if not self.on_device:
            return
        try:
            for part in (self.train, self.val, self.test):
                if part is not None and part.start is None:
                    part.to(device)
        except torch.OutOfMemoryError as error:
            self.on_device = False
            log.warning("the pictures do not all fit the device and cross batch by batch: %s", error)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches, in a new order each epoch."""
        assert self.train is not None
        return self.train.loader(self.batch_size, shuffle=True, seed=self.seed, workers=self._workers(self.train))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches."""
        assert self.val is not None
        return self.val.loader(max(self.batch_size, 128), workers=self._workers(self.val))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches.

        Raises:
            BadInput: if there is no image to test on.
        """
        assert self.test is not None
        if not len(self.test):
            raise BadInput("there is no image to test on: give a data.test_size above 0, or null for all that are left")
        return self.test.loader(max(self.batch_size, 128), workers=self._workers(self.test))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The test images."""
        return self.test_dataloader()

    def _workers(self, examples: Examples) -> int:
        return 0 if isinstance(examples.x, Tensor) else self.workers
