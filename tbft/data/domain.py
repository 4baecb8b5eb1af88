"""The data of a run: one domain of a data set, with drift applied, split, and served in batches."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from tbft.data.batches import Examples
from tbft.data.class_names import check_distinct, match_classes
from tbft.data.drift import Drift
from tbft.data.imbalance import long_tail
from tbft.data.label_maps import label_map
from tbft.data.label_noise import wrong_labels
from tbft.data.labelled import AUGMENT, LabelledData
from tbft.data.pictures import Pictures, PicturesOnDemand
from tbft.data.splits import Indices, Split, device_split, draw, draw_test, paper_split
from tbft.errors import BadInput, check_at_least, check_between
from tbft.normalisation import check_normalisation
from tbft.schema import LEVELS

log = logging.getLogger(__name__)


class DomainData(LabelledData, LightningDataModule, ABC):
    """A source or target domain as train, validation and test batches.

    A data set is a subclass that opens its pictures and names its classes; splits, drifts, batching and
    normalisation are the same for all.

    Args:
        domain: ``target`` to personalize, ``source`` to train a base model (no corruption, no label map).
        train_size: number of labelled images; in the device's split validation is included. ``None``: 80 % of the
            images, or all if ``test_size`` is 0 or the data set has its own test part; in the paper's split 10 %.
        split: ``device`` (validation images are a part of ``train_size``) or ``paper`` (15 % of all images are for
            validation, 15 % for testing).
        validation: share of the labelled images that is used for validation, in the device's split.
        test_size: number of test images; ``None`` takes all that are left, 0 none.
        corruption: corruption of every picture, such as ``gaussian_noise`` (see ``tbft.data.corruptions``).
        severity: severity of the corruption, 1 to 5.
        label_map: change of the labels, such as ``flip`` (see ``tbft.data.label_maps``).
        imbalance: how many times rarer the last class is than the first, in the labelled and the test images; shares
            fall exponentially from class to class. 1 keeps the data's own shares.
        label_noise: share of the training and validation labels that are made wrong.
        labelled: whether the device has labels. Without labels there is no validation, and ``ladder.climb`` is needed.
        batch_size: number of images in a training batch.
        augment: augmentation of training images: ``none``, ``crop`` or ``crop_and_flip``.
        mean: mean for normalising the pictures, on the scale 0 to 1, one value or one per channel; the CLI takes it
            from the base model.
        std: standard deviation for normalising the pictures, on the same scale; the CLI takes it from the base model.
        memory_limit: MiB up to which pictures are kept in memory; more are read when they are needed.
        workers: number of processes that read pictures that are not kept in memory.
        on_device: move pictures in memory to the accelerator once, instead of batch by batch.
        skip_broken: leave out and count pictures that cannot be read, instead of ending the run; every picture is then
            read once more.
        image_size: side of the pictures, in pixels; the CLI takes it from the base model.
        base_classes: class names in the order of the base model's outputs, to which labels are converted;
            the CLI takes them from the base model. Empty keeps the data's own order.
        seed: seed of the split, the order of batches, the corruption, the imbalance and the label noise; the CLI takes
            ``--seed_everything``.
    """

    name = "domain"
    drifts_as_told = False
    """Whether the options and the data set name everything in which the target domain differs from the source."""

    def __init__(
        self,
        domain: Literal["source", "target"] = "target",
        train_size: int | None = None,
        split: Literal["device", "paper"] = "device",
        validation: float = 0.1,
        test_size: int | None = None,
        corruption: str | None = None,
        severity: int = 5,
        label_map: str | list[int] | None = None,
        imbalance: float = 1.0,
        label_noise: float = 0.0,
        labelled: bool = True,
        batch_size: int = 64,
        augment: Literal["none", "crop", "crop_and_flip"] = "none",
        mean: tuple[float, ...] = (0.5,),
        std: tuple[float, ...] = (0.5,),
        memory_limit: float = 2048,
        workers: int = 0,
        on_device: bool = False,
        skip_broken: bool = False,
        image_size: int = 32,
        base_classes: tuple[str, ...] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_at_least(1, "data", train_size=train_size, batch_size=batch_size)
        check_at_least(0, "data", test_size=test_size, memory_limit=memory_limit, workers=workers)
        if not 0 < validation < 1:
            raise BadInput(f"data.validation is {validation}: it is a share between 0 and 1")
        check_between(1, 1e6, "data", imbalance=imbalance)
        check_between(0, 1, "data", label_noise=label_noise)
        if label_noise and not labelled:
            raise BadInput("data.label_noise makes labels wrong and data.labelled false has none: leave one out")
        if domain == "source" and (imbalance != 1 or label_noise or not labelled):
            raise BadInput(
                "data.imbalance, data.label_noise and data.labelled are of the target domain: leave them out"
            )
        if corruption is None and severity != 5:
            raise BadInput(
                f"data.severity is {severity} and nothing is corrupted: give data.corruption too, or neither"
            )
        if split == "paper" and (test_size is not None or (domain == "target" and validation != 0.1)):
            raise BadInput(
                "data.split paper validates and tests on 15 % of the images each: leave data.validation and "
                "data.test_size out"
            )
        check_normalisation("data.", mean, std)
        self.domain, self.train_size, self.split, self.validation = domain, train_size, split, validation
        self.test_size, self.corruption, self.severity = test_size, corruption, severity
        self.label_map, self.imbalance, self.label_noise, self.labelled = label_map, imbalance, label_noise, labelled
        self.batch_size, self.augment, self.mean, self.std = batch_size, augment, mean, std
        self.memory_limit, self.workers, self.image_size, self.seed = memory_limit, workers, image_size, seed
        self.on_device = on_device
        self.skip_broken, self.base_classes = skip_broken, base_classes
        self.skipped = 0
        self.test_names: list[str] = []
        self.identities: list[str] = []
        self._own_parts: tuple[str, ...] = ()

    def has_own_part(self, part: str) -> bool:
        """Return whether the opened data set brings images of this part, ``validation`` or ``test``, itself."""
        return part in self._own_parts

    @abstractmethod
    def open(self) -> Pictures:
        """Open the pictures of the chosen domain.

        Raises:
            BadInput: if they are missing or cannot be read.
        """

    @property
    def subpopulation(self) -> str | None:
        """Name of the feature-level drift of the data set's own target domain; ``None`` if it has none."""
        return None

    @property
    def drift(self) -> Drift:
        """What changed against the source domain, as far as the options and the data set tell."""
        if self.domain == "source":
            return Drift(None, "none", is_source=True)
        found: list[tuple[str, str]] = []
        if self.corruption:
            found.append(("input", self.corruption))
        if self.subpopulation:
            found.append(("feature", self.subpopulation))
        if self.label_map is not None:
            name = self.label_map if isinstance(self.label_map, str) else "label_map"
            found.append(("output", name))
        if self.imbalance != 1:
            found.append(("prior", "prior"))
        levels = tuple(level for level, _ in found)
        names = [name for _, name in found] + ["label_noise"] * bool(self.label_noise)
        level = levels[0] if len(levels) == 1 and levels[0] in LEVELS else None
        return Drift(
            level,
            "+".join(names) or "unknown",
            self.severity if self.corruption else None,
            levels=levels if self.drifts_as_told else None,
        )

    def setup(self, stage: str | None = None) -> None:
        """Open the pictures, split them and apply the drift; later calls, for any stage, do nothing.

        Raises:
            BadInput: if the pictures cannot be opened, a class has too few images, or there are fewer images than asked
                for.
        """
        if self.test is not None:
            return
        pictures = self.open()
        self.skipped = pictures.skipped
        own = {"validation": pictures.validation, "test": pictures.test}
        self._own_parts = tuple(part for part, positions in own.items() if positions is not None)
        self._check_labels(pictures)
        if self.imbalance != 1:
            pictures = self._imbalanced(pictures)
        split = self._split(pictures)
        labels = torch.from_numpy(self._in_base_order(pictures.labels)).clone()
        if self.label_map is not None and self.domain == "target":
            labels = label_map(self.label_map, len(self.classes))[labels]
        sample = np.concatenate([split.train, split.validation])
        if self.label_noise:
            labels[sample] = wrong_labels(labels[sample], len(self.classes), self.label_noise, self.seed)
        elif not self.labelled:
            labels[sample] = 0  # makes sure that labels which the device does not have are never used
        self.test_names = [pictures.where(int(i)) for i in split.test]
        total = len(split.train) + len(split.validation) + len(split.test)
        mib = total * 3 * self.image_size**2 / 2**20
        in_memory = mib <= self.memory_limit
        where = "kept in memory" if in_memory else "too many to keep, read batch by batch"
        level = logging.INFO if in_memory else logging.WARNING
        log.log(level, "%d pictures, %.0f MiB (data.memory_limit %.0f): %s", total, mib, self.memory_limit, where)
        if pictures.identity:
            self.identities = [pictures.identity(int(i)) for i in np.concatenate([sample, split.test])]
        reader = self._reader(pictures)
        parts = {}
        for part, positions in (("train", split.train), ("val", split.validation), ("test", split.test)):
            began = time.process_time(), time.perf_counter()
            x = reader(positions) if in_memory else PicturesOnDemand(reader, positions)
            if part == "test":
                self.reading_test = time.process_time() - began[0], time.perf_counter() - began[1]
            change = AUGMENT[self.augment] if part == "train" else None
            parts[part] = Examples(x, labels[positions], mean=self.mean, std=self.std, augment=change)
        self.train, self.val, self.test = parts["train"], parts["val"], parts["test"]

    def _check_labels(self, pictures: Pictures) -> None:
        """Raise ``BadInput`` if a label is no class, two classes share a name, or a class has too few images."""
        check_distinct(self.classes, f"the {self.domain} domain")
        labels = pictures.labels
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if len(wrong):
            raise BadInput(
                f"{pictures.where(int(wrong[0]))} has label {labels[wrong[0]]}: the {len(self.classes)} classes are "
                f"numbered 0 to {len(self.classes) - 1}; correct the labels"
            )
        pool = pictures.pool
        needed = 1 if pictures.validation is not None else 2
        for label, name in enumerate(self.classes if self.must_split else ()):
            mine = pool[labels[pool] == label]
            if len(mine) < needed:
                found = f"one {self.domain} image ({pictures.where(int(mine[0]))})" if len(mine) else "no image"
                raise BadInput(
                    f"class {name!r} has {found} in the {self.domain} domain: a class needs at least "
                    f"{needed} beside those that test; add some, or leave the class out"
                )

    def _in_base_order(self, labels: Indices) -> Indices:
        """Convert labels to the base model's numbering, if it names its classes, and set ``classes`` to its names."""
        if not self.base_classes:
            return labels
        position = np.array(match_classes(self.classes, self.base_classes, may_lack=not self.must_split))
        self.classes = tuple(self.base_classes)
        return position[labels]

    def _imbalanced(self, pictures: Pictures) -> Pictures:
        """Leave out pictures so that each class, in the data set's order, keeps a smaller share than the one before."""
        parts = [part for part in (pictures.pool, pictures.validation, pictures.test) if part is not None]
        kept = [part[long_tail(pictures.labels[part], len(self.classes), self.imbalance, self.seed)] for part in parts]
        return pictures.subset(np.sort(np.concatenate(kept)))

    def _split(self, pictures: Pictures) -> Split:
        split = self._drawn(pictures)
        if self.labelled:
            return split
        everything = np.sort(np.concatenate([split.train, split.validation]))
        return Split(everything, everything[:0], split.test)

    def _drawn(self, pictures: Pictures) -> Split:
        labels = pictures.labels
        if self.split == "paper":
            return paper_split(labels, self.train_size, self.seed, pool=pictures.pool)
        if pictures.validation is not None and self.validation != 0.1:
            raise BadInput(
                f"data.validation is {self.validation} and the data sets {len(pictures.validation)} pictures aside to "
                "validate: leave data.validation out"
            )
        own = {"own_validation": pictures.validation, "own_test": pictures.test}
        try:
            return device_split(labels, self.train_size, self.validation, self.seed, self.test_size, **own)
        except BadInput:
            if self.must_split or not len(pictures.pool) or (self.train_size or 0) > len(pictures.pool):
                raise
        size = len(pictures.pool) if self.train_size is None else self.train_size
        train, left = draw(pictures.pool, labels, size, self.seed)
        test = draw_test(left if pictures.test is None else pictures.test, labels, self.test_size, self.seed)
        return Split(train, train[:0], test)

    def _reader(self, pictures: Pictures) -> Callable[[Indices], Tensor]:
        if self.corruption is None or self.domain == "source" or pictures.corrupted:
            return pictures.read
        from tbft.data.corruptions import corrupt

        name, severity, seed = self.corruption, self.severity, self.seed

        def corrupted(positions: Indices) -> Tensor:
            return corrupt(
                pictures.read(positions), name, severity, seed=seed, indices=[int(i) for i in positions], progress=True
            )

        return corrupted
