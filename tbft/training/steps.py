"""Train an adaptation's target by steps with Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger

from tbft.adaptation.adaptation import Adaptation, seed_everything
from tbft.callbacks import (
    AtomicCheckpointIO,
    BlockFreezeCallback,
    DataOnDevice,
    EnergyCallback,
    EpochCheckpoint,
    FeatureCacheCallback,
    KeepBestCallback,
    LearningCurveCallback,
)
from tbft.data.sample import ImageSample
from tbft.module import ImageClassifier
from tbft.training.checks import make_trainer

DEFAULTS: dict[str, Any] = {
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "log_every_n_steps": 10,
    # The data's own sampler distributes training images over processes; every process evaluates all images.
    "use_distributed_sampler": False,
}
"""Trainer options that differ from Lightning's own defaults."""


def train_by_steps(
    adaptation: Adaptation,
    options: Mapping[str, Any],
    *,
    folder: Path | None = None,
    loggers: Sequence[Logger] = (),
    checkpoint: EpochCheckpoint | None = None,
    resume: Path | None = None,
) -> Trainer:
    """Train the adaptation's target. Afterwards the network has the kept weights.

    Args:
        adaptation: adaptation whose classifier is an ``ImageClassifier``, whose freeze is a ``BlockFreezeCallback`` and
            whose meter is an ``EnergyCallback``.
        options: options of the trainer.
        folder: folder of the run, for cached features that exceed the memory limit.
        loggers: loggers of the run.
        checkpoint: callback that writes the checkpoints; ``None`` writes none.
        resume: checkpoint to resume from; ``None`` starts anew.

    Returns:
        The trainer, after the fit.
    """
    module, freeze, meter, data = adaptation.classifier, adaptation.freeze, adaptation.meter, adaptation.data
    assert isinstance(module, ImageClassifier)
    assert isinstance(freeze, BlockFreezeCallback) and isinstance(meter, EnergyCallback)
    keep = KeepBestCallback(adaptation.has_base, freeze.statistics != "source", meter)
    adaptation.keep = keep
    # This is the order of preparation: move pictures, score the base model, change statistics, cache features.
    callbacks: list[Callback] = [meter, DataOnDevice(), keep, freeze, FeatureCacheCallback(freeze, adaptation.cache)]
    callbacks.append(LearningCurveCallback(adaptation.progress, meter))
    callbacks += [checkpoint] if checkpoint else []
    given = {**DEFAULTS, **options, "max_epochs": adaptation.epochs}
    given["callbacks"] = [*callbacks, *(given.get("callbacks") or [])]
    given["enable_checkpointing"] = checkpoint is not None
    given["default_root_dir"] = str(folder) if folder else None
    if given.get("logger") in (None, True):
        given["logger"] = list(loggers) or False
    given["plugins"] = [AtomicCheckpointIO(), *(given.get("plugins") or [])]
    trainer = make_trainer(Trainer, given)
    seed_everything(adaptation.seed)  # so that numbers drawn to build the network do not matter
    datamodule = data if isinstance(data, LightningDataModule) else SampleModule(data)  # type: ignore[arg-type]
    trainer.fit(module, datamodule=datamodule, ckpt_path=resume)
    return trainer


class SampleModule(ImageSample, LightningDataModule):  # type: ignore[misc]  # both have a name
    """Images given from Python, as a LightningDataModule.

    Args:
        sample: sample whose images this module shares.
    """

    def __init__(self, sample: ImageSample) -> None:
        LightningDataModule.__init__(self)
        self.__dict__.update(sample.__dict__)
