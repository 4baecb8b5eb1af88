"""The steps of an adaptation as Lightning callbacks, one idea a file."""

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
