"""Batches of images or of features, drawn from memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler


class Batch(NamedTuple):
    """What a training step gets.

    Attributes:
        x: images ``(N, C, H, W)``, normalised, or features that enter the chain at ``start``.
        y: labels ``(N,)``, int64.
        start: link of the chain at which ``x`` enters; ``None`` is its beginning.
    """

    x: Tensor
    y: Tensor
    start: str | None = None


class Examples(Dataset[Batch]):
    """Labelled images or cached features that are fetched a whole batch at a time.

    Args:
        x: uint8 images ``(N, C, H, W)``, or floating-point features of N images; or a function from
            positions to such a tensor, for images that do not lie in memory.
        y: labels ``(N,)``.
        start: link at which ``x`` enters the chain.
        mean, std: normalisation of images per channel, on the scale 0 to 1.
        augment: applied to each normalised batch, with a generator that is seeded by epoch.
    """

    def __init__(
        self,
        x: Tensor | Callable[[Sequence[int]], Tensor],
        y: Tensor,
        *,
        start: str | None = None,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        self.x, self.y, self.start, self.augment = x, y, start, augment
        self.generator = torch.Generator()
        scale = torch.tensor(std).view(1, -1, 1, 1) * 255
        self.scale, self.shift = scale.reciprocal(), -torch.tensor(mean).view(1, -1, 1, 1) * 255 / scale

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The images at these positions as one batch: one gather, one normalisation."""
        where = torch.as_tensor(indices)
        x = self.x[where.to(self.x.device)] if isinstance(self.x, Tensor) else self.x(indices)
        if x.dtype == torch.uint8:
            x = torch.addcmul(self.shift.to(x.device), x.float(), self.scale.to(x.device))
            if self.augment is not None:
                x = self.augment(x, self.generator)
        return Batch(x.float(), self.y[where.to(self.y.device)], self.start)

    def loader(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, workers: int = 0) -> DataLoader:
        """A DataLoader over the examples.

        Shuffled batches are a function of the seed and the epoch alone, so that a resumed run sees the
        batches of an uninterrupted one. A last batch of one image is left out in training, for batch
        statistics of one image do not exist.
        """
        sampler = EpochOrder(self, seed) if shuffle else None
        return DataLoader(
            self,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=shuffle and len(self) > batch_size and len(self) % batch_size == 1,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_as_fetched,
        )


class EpochOrder(Sampler[int]):
    """A new order each epoch, drawn from the seed and the epoch's number.

    Lightning calls ``set_epoch`` before each epoch, also the first one after a resume.
    """

    def __init__(self, examples: Examples, seed: int) -> None:
        self.examples, self.seed, self.epoch = examples, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        self.examples.generator.manual_seed(self.seed * 100_003 + self.epoch + 50_000)
        return iter(torch.randperm(len(self.examples), generator=generator).tolist())


def _as_fetched(batch: Batch) -> Batch:
    return batch
