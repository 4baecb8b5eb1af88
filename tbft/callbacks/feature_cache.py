"""The frozen prefix runs once per image, not once per epoch."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from tbft.callbacks.block_freeze import BlockFreezeCallback
from tbft.data import DomainData
from tbft.data.batches import Examples
from tbft.models.statistics import has_statistics, inference_mode_of
from tbft.module import ImageClassifier


class FeatureCacheCallback(Callback):
    """Runs the blocks before the target once over the training and validation images and keeps the outputs.

    Training and validation then start at the target block. Nothing is cached where nothing is constant:
    when the first block trains, when the statistics policy is ``batch``, or when images are augmented.

    Args:
        enabled: off runs the prefix in every epoch, with the same result.
        batch_size: images in one forward pass through the prefix.
    """

    def __init__(self, enabled: bool = True, batch_size: int = 128) -> None:
        self.enabled, self.batch_size = enabled, batch_size

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the cache, after the blocks are frozen and their statistics set."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        freeze = next(c for c in trainer.callbacks if isinstance(c, BlockFreezeCallback))  # type: ignore[attr-defined]
        assert isinstance(pl_module, ImageClassifier) and isinstance(data, DomainData)
        chain = pl_module.model
        prefix, target, _ = chain.split(freeze.target)
        if not (self.enabled and prefix and target) or data.augment != "none":
            return
        if freeze.statistics == "batch" and has_statistics(chain.modules_of(prefix)):
            return
        assert data.train is not None and data.val is not None
        with inference_mode_of(chain):
            features = [self.features(pl_module, part, target[0]) for part in (data.train, data.val)]
        data.enter_at(target[0], *features)

    @torch.no_grad()
    def features(self, module: ImageClassifier, examples: Examples, stop: str) -> Tensor:
        """Outputs of the links before ``stop`` for all examples, in their order ``(N, ...)``."""
        chain = module.model
        parts = []
        for batch in examples.loader(self.batch_size):
            x = batch.x.to(module.device)
            if module.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            parts.append(chain(x, start=batch.start, stop=stop))
        return torch.cat(parts)
