"""Freezing as a callback: the target block trains, the rest stays as it is."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.adaptation.freezing import BlockFreeze
from tbft.data.labelled import LabelledData
from tbft.module import ImageClassifier


class BlockFreezeCallback(BlockFreeze, Callback):
    """Trains the target block of a drift level and freezes the rest (see ``BlockFreeze``)."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze before the optimiser is made and before DDP wraps the module."""
        if stage == "fit":
            module, data = _parts(trainer, pl_module)
            self.freeze(module.model, self.target_of(module.model, data.drift))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run has its refreshed statistics from the checkpoint."""
        self.refreshed = state_dict["refreshed"]

    def state_dict(self) -> dict[str, Any]:
        """Whether the statistics are the target's already."""
        return {"refreshed": self.refreshed}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Re-estimate the statistics where the policy says so, once."""
        if self.refreshes:
            module, data = _parts(trainer, pl_module)
            assert data.train is not None
            self.refresh(module, data.train, data.seed)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning may have changed modes around validation: set them again."""
        self.set_modes(_parts(trainer, pl_module)[0].model)


def _parts(trainer: Trainer, module: LightningModule) -> tuple[ImageClassifier, LabelledData]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(module, ImageClassifier) and isinstance(data, LabelledData)
    return module, data
