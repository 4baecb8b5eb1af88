"""What a run resumes from: the last two epochs' ends, each file whole, checked and bound to its run."""

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
    """Writes ``last.ckpt`` into the run's folder at the ends of training epochs, booked as ``save``.

    At the end of an epoch a resume repeats no sample. The best weights so far travel in the same file
    (``KeepBestCallback``). The file before it is kept as ``previous.ckpt``. Lightning calls a ``Checkpoint`` after
    all other callbacks.

    Args:
        folder: the run's folder.
        every: epochs between two checkpoints; the last epoch always has one. A larger number spares an SD card, and
            an interruption loses up to so many epochs.
        fingerprint: of the run, stored in each file (see ``tbft.runs.fingerprint``).
        meter: books the writing.
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
        """Whether training was stopped before its last epoch, by early stopping."""
        return {"stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A run that was stopped stays stopped when it is resumed."""
        self.stopped = state_dict["stopped"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train no further if early stopping ended the run before it was interrupted."""
        if self.stopped:
            trainer.should_stop = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Bind the checkpoint to its run."""
        checkpoint[_FINGERPRINT] = self.fingerprint

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint."""
        self.stopped = trainer.should_stop and not any(map(_used_up, trainer.callbacks))  # type: ignore[attr-defined]
        done = trainer.current_epoch + 1
        steps = trainer.max_steps
        ends = done == trainer.max_epochs or trainer.should_stop or (0 <= steps <= trainer.global_step)
        if ends or done % self.every == 0:
            with phase_of(self.meter, "save"):
                trainer.save_checkpoint(self.path)


def _used_up(callback: Any) -> bool:
    """Whether a callback stopped the run at a limit that a resumed run may raise."""
    return bool(getattr(callback, "stopped_by", None)) or (
        isinstance(callback, Timer) and callback.time_remaining() == 0
    )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that a crash or a power cut leaves whole, and that run no code when they are read.

    Lightning's own are staged in another folder and not synced, and some are unpickled.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside the target, sync, keep the target as ``previous.ckpt``, then replace it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue(), previous=path.with_name(PREVIOUS) if path.name == LAST else None)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read tensors and plain values alone, after the checksum of each of them has been compared.

        Raises:
            BadInput: if the file is no checkpoint, was changed, or holds more than that.
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
    """The checkpoint that a run goes on from: the given one, or, if it is ``last.ckpt`` and torn, the one before.

    Args:
        file: the checkpoint asked for.
        fingerprint: of the run that wants to go on.
        max_epochs: of that run; ``None`` and -1 set no end.

    Raises:
        BadInput: if neither can be read, it is of another run (what differs is named), or it is past the run's end.
    """
    previous = file.with_name(PREVIOUS)
    candidates = [file, previous] if file.name == LAST and previous.is_file() else [file]
    torn: BadInput | None = None
    for candidate in candidates:
        try:
            if not candidate.is_file():  # a crash between two moves
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
