"""The feature cache: run the frozen prefix once per image instead of once per epoch."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from tbft.adaptation.feature_room import room_in_memory, room_on_disk
from tbft.adaptation.features import features_of
from tbft.adaptation.freezing import BlockFreeze
from tbft.data.labelled import LabelledData
from tbft.errors import check_at_least
from tbft.models.classifier import Classifier
from tbft.models.statistics import has_statistics, inference_mode_of

log = logging.getLogger(__name__)


class FeatureCache:
    """Runs the blocks before the target once over the training and validation images and keeps the outputs.

    Training and validation then start at the target block. Nothing is cached when the prefix's outputs are not
    constant: when the first block trains, when the statistics policy is ``batch``, or when images are augmented. The
    pass that refreshes statistics cannot fill the cache, because each BatchNorm then uses the statistics of the batch
    and not yet the refreshed ones.

    The cache lies in memory up to a limit, and above it in an unnamed file that vanishes with the run, so that no run
    can read the cache of another model or other data. Where neither has room, the prefix runs in every epoch.

    Args:
        enabled: whether to cache; off runs the prefix in every epoch, with the same result.
        memory_limit: largest size of the features in memory, in MiB.
        disk_limit: largest size of the features on disk, in MiB, where they exceed ``memory_limit``.
        folder: folder of the file on disk; ``None`` is the run's folder (``/tmp`` is in memory on small boards).
        half: keep features in 16 bits (bfloat16) and half the space. Where convolutions compute in bfloat16
            (``model.number_format``), features have 16 bits anyway.
        batch_size: images in one forward pass through the prefix.

    Raises:
        BadInput: if a number is too small.

    Attributes:
        place: place of the cache: ``memory``, ``disk`` or ``none``.
        mib: size of the cache, in MiB.
    """

    def __init__(
        self,
        enabled: bool = True,
        memory_limit: float = 512,
        disk_limit: float = 8192,
        folder: str | None = None,
        half: bool = False,
        batch_size: int = 128,
    ) -> None:
        check_at_least(1, "cache", batch_size=batch_size)
        check_at_least(0, "cache", memory_limit=memory_limit, disk_limit=disk_limit)
        self.enabled, self.memory_limit, self.disk_limit = enabled, memory_limit, disk_limit
        self.folder, self.half, self.batch_size = folder, half, batch_size
        self.place, self.mib = "none", 0.0

    def fill(self, classifier: Classifier, data: LabelledData, freeze: BlockFreeze, folder: Path) -> None:
        """Fill the cache, once blocks are frozen and statistics set. Afterwards the data serves features.

        Args:
            classifier: classifier whose prefix runs.
            data: training and validation images; they are replaced by features.
            freeze: choice of the blocks that train.
            folder: folder of the file on disk, unless the cache was given one.
        """
        chain = classifier.model
        prefix, target, _ = chain.split(freeze.target)
        if not (self.enabled and prefix and target):
            return
        if freeze.statistics == "batch" and has_statistics(chain.modules_of(prefix)):
            log.info("nothing is cached: with batch statistics the frozen blocks change in every step")
            return
        if data.augment != "none":
            log.warning("nothing is cached: augmented images differ in every epoch (data.augment: none caches)")
            return
        assert data.train is not None and data.val is not None
        root, total = Path(self.folder or folder), len(data.train) + len(data.val)

        def reserve(like: Tensor, count: int) -> Tensor:
            return self._reserve(like, count, total, root)

        try:
            with inference_mode_of(chain):
                features = [
                    features_of(classifier, part, target[0], self.batch_size, reserve)
                    for part in (data.train, data.val)
                ]
        except (OSError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            log.warning("the prefix runs in every epoch, for its outputs cannot be kept: %s", error)
            self.place, self.mib = "none", 0.0
            return
        where = {"memory": "in memory", "disk": f"on disk, in {root}"}[self.place]
        log.info("what enters %s is computed once: %.1f MiB, kept %s", target[0], self.mib, where)
        data.enter_at(target[0], train=features[0], val=features[1])

    def _reserve(self, like: Tensor, count: int, total: int, folder: Path) -> Tensor:
        """Make room for ``count`` of ``total`` features like ``like`` ``(N, ...)``, if the limits allow all of them.

        Raises:
            OSError: if all features together exceed both limits, or the disk is full.
        """
        like = like.bfloat16() if self.half else like
        self.mib = like[0].numel() * like.element_size() * total / 2**20
        if self.mib <= self.memory_limit:
            self.place = "memory"
            return room_in_memory(like, count)
        if self.mib > self.disk_limit:
            raise OSError(
                f"{self.mib:.3g} MiB of features exceed cache.memory_limit ({self.memory_limit:g}) and "
                f"cache.disk_limit ({self.disk_limit:g})"
            )
        self.place = "disk"
        return room_on_disk(like, count, folder)
