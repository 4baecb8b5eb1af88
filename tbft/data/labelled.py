"""Labelled images of a run: parts for training, validation and testing, served in batches."""

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
        name: name of the data set, for records.
        classes: class names in the order of the model's outputs.
        train, val, test: parts of the images; ``None`` until they are opened. An empty test part is skipped.
        test_names: names of the test images, such as their files.
        train_size: number of labelled images, validation included; ``None`` if it was not given.
        batch_size: number of images in a training batch.
        augment: augmentation of training images: ``none``, ``crop`` or ``crop_and_flip``.
        workers: number of processes that read pictures that are not in memory.
        on_device: whether to move pictures in memory to the accelerator once, instead of batch by batch.
        labelled: whether the labels are used; without labels there is no validation part.
        must_split: whether to refuse images that lack a class or are too few to train and validate. If not, all of
            them train in such a case.
        skipped: number of broken pictures that were left out on request.
        reading_test: CPU-seconds and wall seconds that reading the test images took, which are not a part of the
            adaptation.
        seed: seed that draws the split and the order of batches.
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
        """What changed against the source domain, as far as it is known."""
        return Drift(None, "unknown")

    def enter_at(self, start: str, *, val: Tensor, train: Tensor | None = None) -> None:
        """Serve cached features instead of the pictures from now on.

        Args:
            start: name of the chain's link that takes the features.
            val: features ``(N, ...)`` of the validation images, in their order.
            train: features ``(N, ...)`` of the training images, in their order; ``None`` goes on serving the pictures.
        """
        assert self.train is not None and self.val is not None
        if train is not None:
            self.train = Examples(train, self.train.y, start=start)
        self.val = Examples(val, self.val.y, start=start)

    def move_to(self, device: torch.device) -> None:
        """Move pictures in memory to a device, if ``on_device`` is set.

        Cached features stay where the cache keeps them. If the device has no room for all pictures, the others are
        moved batch by batch.
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
        """Return a loader of training batches, with a new order each epoch."""
        assert self.train is not None
        return self.train.loader(self.batch_size, shuffle=True, seed=self.seed, workers=self._workers(self.train))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of validation batches."""
        assert self.val is not None
        return self.val.loader(max(self.batch_size, 128), workers=self._workers(self.val))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of test batches.

        Raises:
            BadInput: if there is no image to test on.
        """
        assert self.test is not None
        if not len(self.test):
            raise BadInput("there is no image to test on: give a data.test_size above 0, or null for all that are left")
        return self.test.loader(max(self.batch_size, 128), workers=self._workers(self.test))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of test batches, as Lightning's ``predict`` asks for it."""
        return self.test_dataloader()

    def _workers(self, examples: Examples) -> int:
        return 0 if isinstance(examples.x, Tensor) else self.workers
