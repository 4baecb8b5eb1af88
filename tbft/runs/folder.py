"""The folder of a run: locked to one process, never without a completed run's files, with reserved disk space."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tbft.atomic import flush_folder, write_text
from tbft.errors import BadInput
from tbft.schema import RESULT_FILE

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk and of a used-up quota."""
MODEL, CONFIG = "model.safetensors", "config.yaml"
LADDER = "ladder.png"
PICTURES = ("power.png", LADDER)
UNFINISHED = "result.unfinished.json"
_LOCK, _NEW, _RESERVE = ".lock", ".new", ".reserve"
_RESERVED_BYTES = 256 * 1024
"""Space for a record; one with a learning curve of several hundred epochs takes less."""


class FolderInUse(BadInput):
    """Raised if another process works in the folder."""


class RunFolder:
    """The folder of a run that is about to begin or to go on.

    A completed run's record, weights and configuration stay in the folder until a new run there is completed too.
    Until then the new run's files lie in ``.new``; if it is not completed, its record is written to
    ``result.unfinished.json``.

    Args:
        path: path of the folder, which ``locked`` makes if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holds_completed = False

    @property
    def staging(self) -> Path:
        """Folder in which weights and configuration are written until the run is completed."""
        return self.path / _NEW if self.holds_completed else self.path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for a ``with`` block; the kernel releases the lock however this process ends.

        If the folder was made here and is still empty at the end, it is removed again.

        Raises:
            FolderInUse: if another run works in the folder.
            BadInput: if the folder cannot be made or written.
        """
        from filelock import FileLock, Timeout

        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        lock = FileLock(self.path / _LOCK, timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise FolderInUse(
                f"another run is at work in {self.path}: wait for it, or choose another run.name"
            ) from None
        except OSError as error:
            raise BadInput(f"{self.path} cannot be written ({error.strerror}): choose another run.root") from None
        try:
            finish_commit(self.path)
            self.holds_completed = status_of(self.path) == "completed"
            yield
        finally:
            lock.release()
            if made and all(item.name == _LOCK for item in self.path.iterdir()):
                (self.path / _LOCK).unlink(missing_ok=True)
                for folder in made:
                    with suppress(OSError):  # another run has a folder in it by now
                        folder.rmdir()

    def begin(self, *, resume: bool) -> None:
        """Remove files of an earlier run that could be taken for this run's.

        Record, weights and configuration of a completed run stay.

        Args:
            resume: whether to go on with the run in this folder, whose files and checkpoints then stay.

        Raises:
            OSError: if a file cannot be removed.
        """
        shutil.rmtree(self.path / _NEW, ignore_errors=True)
        if not resume:
            (self.path / "last.ckpt").unlink(missing_ok=True)
            (self.path / "previous.ckpt").unlink(missing_ok=True)
            if not self.holds_completed:
                for name in (RESULT_FILE, MODEL, CONFIG, "predictions.csv", *PICTURES):
                    (self.path / name).unlink(missing_ok=True)
        self.staging.mkdir(exist_ok=True)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Reserve disk space for a ``with`` block, so that a run can write its record even when the disk is full."""
        file = self.path / _RESERVE
        try:
            file.write_bytes(b"\0" * _RESERVED_BYTES)
        except OSError:
            file.unlink(missing_ok=True)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def write_record(self, text: str, *, completed: bool) -> Path:
        """Write the run's record; a completed run then replaces the completed run before it.

        Args:
            text: the record as JSON.
            completed: whether the run was completed.

        Returns:
            The file of the record.

        Raises:
            OSError: if the file cannot be written, even with the space that ``reserved`` holds.
        """
        otherwise = self.path / (UNFINISHED if self.holds_completed else RESULT_FILE)
        file = self.staging / RESULT_FILE if completed else otherwise
        try:
            write_text(file, text)
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            (self.path / _RESERVE).unlink(missing_ok=True)
            write_text(file, text)
        if completed:
            (self.path / UNFINISHED).unlink(missing_ok=True)
            finish_commit(self.path)
            file = self.path / RESULT_FILE
        return file


def finish_commit(folder: Path) -> None:
    """Move a completed run from ``.new`` into its folder, if it is whole.

    It is whole if its record is there, because the record is written last; the record is also moved last.
    """
    new = folder / _NEW
    if not (new / RESULT_FILE).is_file():
        return
    (folder / "predictions.csv").unlink(missing_ok=True)  # they are those of the replaced weights
    for name in (MODEL, CONFIG, RESULT_FILE):
        if (new / name).is_file():
            (new / name).replace(folder / name)
    flush_folder(folder)
    shutil.rmtree(new, ignore_errors=True)


def status_of(folder: Path) -> str | None:
    """Return the status in the record of a run's folder, or ``None`` if there is no whole record."""
    try:
        return str(json.loads((folder / RESULT_FILE).read_text())["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def reason_of(error: BaseException) -> str:
    """Return the reason why a run was not completed, as one line for its record."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by a signal" if type(error) is not KeyboardInterrupt else "interrupted (Ctrl-C)"
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.errno in FULL_DISK):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, OSError):
        where = f" for {cause.filename}" if cause.filename else ""
        return f"no space is left on the disk{where} ({os.strerror(cause.errno or 0)})"
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
