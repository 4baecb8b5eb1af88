"""Checkpoints to resume a run from: the two newest, each written atomically, checked, and bound to its run."""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer

from tbft.atomic import write_bytes
from tbft.energy.run_meter import RunMeter, phase_of
from tbft.errors import BadInput
from tbft.models.checksum import check_zip
from tbft.runs.fingerprint import differences

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
_FINGERPRINT = "tbft_fingerprint"


class EpochCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` into the run's folder at the end of training epochs, booked to the phase ``save``.

    A run that resumes at the end of an epoch repeats no sample. The file also holds the best weights so far
    (``KeepBestCallback``). The checkpoint before is kept as ``previous.ckpt``. Lightning calls a ``Checkpoint`` after
    all other callbacks.

    Args:
        folder: folder of the run.
        every: epochs between two checkpoints; the last epoch always has one. A larger number spares an SD card, but an
            interruption loses up to this many epochs.
        fingerprint: fingerprint of the run, stored in each file (see ``tbft.runs.fingerprint``).
        meter: meter that books the writing; ``None`` books nothing.
    """

    def __init__(
        self,
        folder: Path,
        every: int = 1,
        fingerprint: dict[str, Any] | None = None,
        meter: RunMeter | None = None,
    ) -> None:
        self.path, self.every, self.fingerprint, self.meter = folder / LAST, every, fingerprint, meter
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        """Return whether early stopping ended training before its last epoch."""
        return {"stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore whether early stopping ended training."""
        self.stopped = state_dict["stopped"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop a resumed run at once if early stopping had ended its training."""
        if self.stopped:
            trainer.should_stop = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the run's fingerprint to the checkpoint."""
        checkpoint[_FINGERPRINT] = self.fingerprint

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint if this epoch has one."""
        self.stopped = trainer.should_stop and not any(map(_used_up, trainer.callbacks))  # type: ignore[attr-defined]
        done = trainer.current_epoch + 1
        steps = trainer.max_steps
        ends = done == trainer.max_epochs or trainer.should_stop or (0 <= steps <= trainer.global_step)
        if ends or done % self.every == 0:
            with phase_of(self.meter, "save"):
                trainer.save_checkpoint(self.path)


def _used_up(callback: Any) -> bool:
    """Return whether a callback stopped the run at a limit that a resumed run may raise."""
    return bool(getattr(callback, "stopped_by", None)) or (
        isinstance(callback, Timer) and callback.time_remaining() == 0
    )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints that survive a crash or a power cut, and reads them without running code from the file.

    Lightning's own checkpoint files are staged in another folder and not synced, and some are unpickled.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file beside the target, sync it, and replace the target; an old ``last.ckpt`` is kept as previous."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue(), previous=path.with_name(PREVIOUS) if path.name == LAST else None)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Compare the file's checksums, then read it; only tensors and plain values are accepted.

        Raises:
            BadInput: if the file is no checkpoint, was changed, or holds anything else.
        """
        advice = "give last.ckpt of a run"
        try:
            check_zip(Path(path))
            return super().load_checkpoint(path, map_location, weights_only=True)
        except pickle.UnpicklingError:
            raise BadInput(f"{path} holds more than tensors and plain values, which could run code: {advice}") from None
        except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInput(f"{path} cannot be read as a checkpoint ({reason}): {advice}") from None


def find_resumable(file: Path, fingerprint: dict[str, Any], max_epochs: int | None = None) -> Path:
    """Return the checkpoint to resume from: the given one, or the one before if it is a ``last.ckpt`` that is torn.

    Args:
        file: checkpoint that the user asked for.
        fingerprint: fingerprint of the run that resumes.
        max_epochs: epochs of that run; ``None`` and -1 mean no limit.

    Raises:
        BadInput: if no checkpoint can be read, it is of another run (the message names what differs), or it has more
            epochs than the run.
    """
    previous = file.with_name(PREVIOUS)
    candidates = [file, previous] if file.name == LAST and previous.is_file() else [file]
    torn: BadInput | None = None
    for candidate in candidates:
        try:
            if not candidate.is_file():  # after a crash between two moves
                raise BadInput(f"{candidate} is missing")
            checkpoint = AtomicCheckpointIO().load_checkpoint(candidate, map_location="cpu")
        except BadInput as error:
            torn = torn or error
            continue
        _check_same_run(candidate, checkpoint, fingerprint)
        done = checkpoint["epoch"] + 1
        if max_epochs is not None and 0 <= max_epochs < done:
            raise BadInput(f"{candidate} has {done} epochs behind it: give a trainer.max_epochs of at least {done}")
        if torn is not None:
            log.warning("%s; the run goes on from %s, one checkpoint earlier", str(torn).rsplit(":", 1)[0], candidate)
        return candidate
    assert torn is not None
    raise BadInput(f"{str(torn).rsplit(':', 1)[0]}: leave --ckpt_path out to begin again") from None


def _check_same_run(file: Path, checkpoint: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    stored = checkpoint.get(_FINGERPRINT)
    if stored is None:
        raise BadInput(f"{file} does not say which run it is of: begin again without --ckpt_path")
    if found := differences(stored, fingerprint):
        raise BadInput(
            f"{file} is of another run, which differs in {', '.join(found)}: give the run's own options, or begin "
            "again without --ckpt_path"
        )
