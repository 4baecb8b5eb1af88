"""Find images and labels in a user's batches, and read training batches before training begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from tbft.errors import BadInput

IMAGES = ("image", "images", "x", "pixel_values", "input", "inputs")
LABELS = ("label", "labels", "y", "target", "targets")
"""Usual keys of images and labels in batches that are mappings."""


def images_of(batch: Any) -> Tensor:
    """Return the images ``(N, C, H, W)`` of a batch.

    They are the first element of a sequence, the value of a mapping at one of the keys ``IMAGES``, or a tensor itself.

    Raises:
        BadInput: if the batch has no images in these places.
    """
    return _part_of(batch, 0, IMAGES, "images")


def labels_of(batch: Any) -> Tensor:
    """Return the labels ``(N,)`` of a batch.

    They are the second element of a sequence, or the value of a mapping at one of the keys ``LABELS``.

    Raises:
        BadInput: if the batch has no labels in these places.
    """
    return _part_of(batch, 1, LABELS, "labels")


def _part_of(batch: Any, position: int, keys: Sequence[str], name: str) -> Tensor:
    found = None
    if isinstance(batch, Mapping):
        found = next((batch[key] for key in keys if key in batch), None)
    elif isinstance(batch, Sequence) and len(batch) > position:
        found = batch[position]
    elif position == 0:
        found = batch
    if isinstance(found, Tensor):
        return found
    what = f"keys {', '.join(map(repr, batch))}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
    raise BadInput(
        f"a batch ({what}) does not say which part of it are its {name}: give {name}=, a function of a batch"
    )


def training_batches(trainer: Trainer) -> Iterable[Any]:
    """Return the training batches of a fit, as its dataloader gives them, also before training begins.

    Raises:
        BadInput: if there is not exactly one training dataloader.
    """
    trainer.fit_loop.setup_data()  # opens the data, only once, as Lightning's estimate of a run's length does
    loader = trainer.train_dataloader
    if loader is None or isinstance(loader, Mapping | list | tuple):
        raise BadInput("there is not one training dataloader: give examples=, the batches to take images from")
    limit = trainer.num_training_batches
    return loader if math.isinf(limit) else islice(loader, int(limit))


def on_device(
    batches: Iterable[Any], trainer: Trainer, module: LightningModule, device: torch.device | None = None
) -> Iterator[Any]:
    """Yield batches as a training step gets them: on the device, after the transfer hooks of the data or the module.

    Args:
        batches: batches as the dataloader gives them.
        trainer: the trainer.
        module: the LightningModule.
        device: device to move them to; ``None`` is the trainer's.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    hooked = data if data is not None and is_overridden("on_before_batch_transfer", data) else module
    for batch in batches:
        converted = trainer.precision_plugin.convert_input(batch)
        ready = hooked.on_before_batch_transfer(converted, dataloader_idx=0)
        yield trainer.strategy.batch_to_device(ready, device, dataloader_idx=0)


def join_batches(images: Iterable[Tensor], largest: int) -> Iterator[Tensor]:
    """Join every four batches into one, of about ``largest`` images at most, to estimate statistics.

    A few large batches estimate best, and without gradients a joined batch takes no more memory than a training step. A
    last batch of less than half the size is left out, because it would count as much as the others.

    Args:
        images: images of each batch ``(N, C, H, W)``.
        largest: number of images from which on no further batch is joined.
    """
    parts: list[Tensor] = []
    wanted, some = 0, False
    for batch in images:
        wanted = wanted or max(min(4 * len(batch), largest), 1)
        if parts and batch.shape[1:] != parts[0].shape[1:]:
            yield torch.cat(parts)
            parts, some = [], True
        parts.append(batch)
        if sum(map(len, parts)) >= wanted:
            yield torch.cat(parts)
            parts, some = [], True
    if parts and (not some or 2 * sum(map(len, parts)) >= wanted):
        yield torch.cat(parts)
