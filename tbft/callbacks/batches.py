"""What is in somebody's batches, and how to get the training batches before training begins."""

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
"""Keys under which batches that are mappings usually have their images and labels."""


def images_of(batch: Any) -> Tensor:
    """The images ``(N, C, H, W)`` of a batch: the first element of a sequence, or what a mapping has under ``IMAGES``.

    Raises:
        BadInput: if there are none.
    """
    return _part_of(batch, 0, IMAGES, "images")


def labels_of(batch: Any) -> Tensor:
    """The labels ``(N,)`` of a batch: the second element of a sequence, or what a mapping has under ``LABELS``.

    Raises:
        BadInput: if there are none.
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
    """The training batches of a fit, as its dataloader gives them, also before training begins.

    Raises:
        BadInput: if there are several dataloaders.
    """
    trainer.fit_loop.setup_data()  # what Lightning's own estimate of a run's length does; it opens the data once
    loader = trainer.train_dataloader
    if loader is None or isinstance(loader, Mapping | list | tuple):
        raise BadInput("there is not one training dataloader: give examples=, the batches to take images from")
    limit = trainer.num_training_batches
    return loader if math.isinf(limit) else islice(loader, int(limit))


def on_device(
    batches: Iterable[Any], trainer: Trainer, module: LightningModule, device: torch.device | None = None
) -> Iterator[Any]:
    """Batches as a training step gets them: on the device, and through the hooks of the module or its data."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    hooked = data if data is not None and is_overridden("on_before_batch_transfer", data) else module
    for batch in batches:
        converted = trainer.precision_plugin.convert_input(batch)
        ready = hooked.on_before_batch_transfer(converted, dataloader_idx=0)
        yield trainer.strategy.batch_to_device(ready, device, dataloader_idx=0)


def join_batches(images: Iterable[Tensor], largest: int) -> Iterator[Tensor]:
    """Join four batches to one, up to ``largest`` images, for statistics that a few large batches estimate best.

    Without gradients these take no more memory than one training step. A rest of less than half of a joined batch is
    left out, for it would count as much as the others.
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
