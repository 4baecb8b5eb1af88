"""The steps of an adaptation as Lightning callbacks, one in each file.

They work in any LightningModule, with any data and in any order; ``notebooks/own_project.ipynb`` shows a whole project.
Batches are tuples that begin with images and labels, or mappings with the usual keys (``image``, ``label``, ...). For
other batches give ``images=`` and ``labels=``, functions of a batch.

Example:
    >>> energy, freeze, keep = EnergyCallback(), BlockFreezeCallback("output"), KeepBestCallback()
    >>> callbacks = [energy, freeze, FeatureCacheCallback(freeze), keep]
    >>> Trainer(callbacks=callbacks).fit(module, train, val)  # doctest: +SKIP
    >>> keep.base.accuracy, keep.best.accuracy, energy.finish()["joules"]["adaptation"]  # doctest: +SKIP
"""

from tbft.callbacks.block_freeze import BlockFreezeCallback
from tbft.callbacks.checkpoint import AtomicCheckpointIO, EpochCheckpoint
from tbft.callbacks.data_on_device import DataOnDevice
from tbft.callbacks.energy import EnergyCallback
from tbft.callbacks.feature_cache import FeatureCacheCallback
from tbft.callbacks.keep_best import KeepBestCallback
from tbft.callbacks.learning_curve import LearningCurveCallback
from tbft.callbacks.relative_gradient_norm import RelativeGradientNormCallback

__all__ = [
    "AtomicCheckpointIO",
    "BlockFreezeCallback",
    "DataOnDevice",
    "EnergyCallback",
    "EpochCheckpoint",
    "FeatureCacheCallback",
    "KeepBestCallback",
    "LearningCurveCallback",
    "RelativeGradientNormCallback",
]
