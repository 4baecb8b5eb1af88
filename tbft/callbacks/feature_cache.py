"""The feature cache as a callback: the frozen prefix runs once per image, not once per epoch."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.adaptation.feature_cache import FeatureCache
from tbft.adaptation.freezing import BlockFreeze
from tbft.data.labelled import LabelledData
from tbft.module import ImageClassifier


class FeatureCacheCallback(Callback):
    """Fills a ``FeatureCache`` when a fit starts, after the blocks are frozen and their statistics set.

    Args:
        freeze: which blocks train.
        cache: where features lie, and up to which size; ``None`` is the usual one.
    """

    def __init__(self, freeze: BlockFreeze, cache: FeatureCache | None = None) -> None:
        self.freeze, self.cache = freeze, cache or FeatureCache()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the cache, unless no epoch runs."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, ImageClassifier) and isinstance(data, LabelledData)
        if trainer.max_epochs != 0 and not trainer.should_stop:
            self.cache.fill(pl_module, data, self.freeze, Path(trainer.default_root_dir))
