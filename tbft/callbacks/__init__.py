"""What happens around training, one idea a file."""

from tbft.callbacks.block_freeze import BlockFreezeCallback
from tbft.callbacks.checkpoint import AtomicCheckpointIO, EpochCheckpoint
from tbft.callbacks.closed_form_head import ClosedFormHeadCallback
from tbft.callbacks.data_on_device import DataOnDevice
from tbft.callbacks.energy import EnergyCallback, phase
from tbft.callbacks.feature_cache import FeatureCacheCallback
from tbft.callbacks.keep_best import KeepBestCallback
from tbft.callbacks.relative_gradient_norm import RelativeGradientNormCallback
from tbft.callbacks.run_record import RunRecordCallback

__all__ = [
    "AtomicCheckpointIO",
    "BlockFreezeCallback",
    "ClosedFormHeadCallback",
    "DataOnDevice",
    "EnergyCallback",
    "EpochCheckpoint",
    "FeatureCacheCallback",
    "KeepBestCallback",
    "RelativeGradientNormCallback",
    "RunRecordCallback",
    "phase",
]
