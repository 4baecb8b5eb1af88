"""Labelled images or features, served in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler


class Batch(NamedTuple):
    """One batch, as a training step gets it.

    Attributes:
        x: images ``(N, C, H, W)``, normalised, or features that enter the chain at ``start``.
        y: class indices ``(N,)``, int64.
        start: name of the chain's link at which ``x`` enters; ``None`` for the first one.
    """

    x: Tensor
    y: Tensor
    start: str | None = None


class Examples(Dataset[Batch]):
    """Labelled images or cached features that are fetched a whole batch at a time.

    Args:
        x: uint8 images ``(N, C, H, W)``, or floating-point images or features of N images, which are served unchanged;
            or a function from positions to such a tensor, for images that are not in memory.
        y: class indices ``(N,)``, int64.
        start: name of the chain's link at which ``x`` enters; ``None`` for the first one.
        mean, std: normalisation of uint8 images per channel, on the scale 0 to 1.
        augment: function that changes each normalised batch of uint8 images; its generator is seeded by seed, epoch
            and batch.
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
        self.epoch_seed = 0
        centre, spread = (torch.tensor(part, dtype=torch.float32).view(1, -1, 1, 1) * 255 for part in (mean, std))
        self.scale, self.shift = spread.reciprocal(), -centre / spread

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the examples at these positions as one batch, normalised and augmented together."""
        where = torch.as_tensor(indices)
        x = self.x[where.to(self.x.device)] if isinstance(self.x, Tensor) else self.x(indices)
        if x.dtype == torch.uint8:
            x = torch.addcmul(self.shift.to(x.device), x.float(), self.scale.to(x.device))
        if self.augment is not None and self.start is None:
            # The seed depends neither on the process that fetches the batch nor on a resume.
            generator = torch.Generator().manual_seed(self.epoch_seed + int(where[0]))
            x = self.augment(x, generator)
        return Batch(x, self.y[where.to(self.y.device)], self.start)

    def to(self, device: torch.device) -> None:
        """Move examples that are in memory to a device, so that batches are drawn there."""
        if isinstance(self.x, Tensor):
            self.x, self.y = self.x.to(device), self.y.to(device)
            self.scale, self.shift = self.scale.to(device), self.shift.to(device)

    def subset(self, positions: Sequence[int]) -> Examples:
        """Return the examples at these positions; images that are not in memory are still read on demand."""
        some, x = copy(self), self.x
        some.x = x[torch.as_tensor(positions)] if isinstance(x, Tensor) else lambda at: x([positions[i] for i in at])
        some.y = self.y[torch.as_tensor(positions)]
        return some

    def loader(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, workers: int = 0) -> DataLoader:
        """Make a DataLoader over the examples.

        Shuffled batches depend on the seed and the epoch alone, so that a resumed run sees the same batches as an
        uninterrupted one.

        Args:
            batch_size: number of examples in a batch.
            shuffle: whether to draw a new order each epoch, for training. A last batch of one example is then left
                out, since batch statistics of one image do not exist.
            seed: seed of the order.
            workers: number of processes that fetch batches; 0 fetches them in this process.
        """
        sampler = EpochOrder(self, seed) if shuffle else None
        count = len(sampler) if sampler else len(self)
        # Persistent workers would keep the first epoch's augmentation.
        persistent = workers > 0 and self.augment is None
        return DataLoader(
            self,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=shuffle and count > batch_size and count % batch_size == 1,
            num_workers=workers,
            persistent_workers=persistent,
            generator=torch.Generator().manual_seed(seed),  # otherwise it draws from the process's global generator
            collate_fn=_as_fetched,
        )


def joined(first: Examples, second: Examples) -> Examples:
    """Concatenate two parts of one data set, without augmentation."""
    both, x, y = copy(first), first.x, second.x
    both.augment = None
    both.y = torch.cat([first.y, second.y])
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        both.x = torch.cat([x, y])
        return both

    def read(part: Examples, positions: Sequence[int]) -> Tensor:
        return part.x[torch.as_tensor(positions)] if isinstance(part.x, Tensor) else part.x(positions)

    def read_both(positions: Sequence[int]) -> Tensor:
        where = torch.as_tensor(positions)
        of_first = where < len(first)
        shares = (first, where[of_first]), (second, where[~of_first] - len(first))
        parts = [read(part, chosen.tolist()) for part, chosen in shares if len(chosen)]
        order = torch.cat([torch.nonzero(of_first), torch.nonzero(~of_first)]).flatten()
        return torch.cat(parts)[order.argsort()]

    both.x = read_both
    return both


class EpochOrder(Sampler[int]):
    """A sampler with a new order each epoch, drawn from the seed and the epoch's number.

    Lightning calls ``set_epoch`` before each epoch, also before the first one after a resume. If several processes
    train, each takes its share of the same order; the shares are equally long, so that a few examples may be left out
    of an epoch.

    Args:
        examples: examples to order; ``set_epoch`` also sets the seed of their augmentation.
        seed: seed of the orders.
    """

    def __init__(self, examples: Examples, seed: int) -> None:
        self.examples, self.seed = examples, seed
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.processes = torch.distributed.get_world_size() if shared else 1
        self.rank = torch.distributed.get_rank() if shared else 0
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the next order and its augmentation."""
        self.order_seed = (self.seed * 100_003 + epoch) * 2**20 % 2**62
        self.examples.epoch_seed = self.order_seed + 1

    def __len__(self) -> int:
        return len(self.examples) // self.processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.order_seed)
        order = torch.randperm(len(self.examples), generator=generator)
        return iter(order[self.rank :: self.processes][: len(self)].tolist())


def _as_fetched(batch: Any) -> Any:
    return batch
