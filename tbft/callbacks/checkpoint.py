"""What a run can resume from: one file, written at the end of each epoch, old or new but never half."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from tbft.atomic import write_bytes
from tbft.callbacks.energy import phase
from tbft.errors import BadInput


class EpochCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` into the run's folder at the end of each training epoch, booked as ``save``.

    At the end of an epoch a resume repeats no sample. The best weights so far travel in the same file
    (``KeepBestCallback``), so there is only one. Lightning calls a ``Checkpoint`` after all other callbacks.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint."""
        with phase(trainer, "save"):
            trainer.save_checkpoint(self.path)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that a crash or a power cut leaves whole, and that run no code when they are read.

    Lightning's own are staged in another folder and not synced, and some are unpickled.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside the target, sync, then replace it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read tensors and plain values alone.

        Raises:
            BadInput: if the file is no checkpoint, or holds more than that.
        """
        try:
            return super().load_checkpoint(path, map_location, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{path} cannot be read as a checkpoint ({reason}): give last.ckpt of a run") from None
