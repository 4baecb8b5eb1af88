"""The adaptations of a device, kept in a folder beside the bundle: the current one and the last few before it.

A delta is written first, then the file that names the current one. Each file is written under another name, flushed and
renamed. So whatever interrupts an adaptation, the state is the one before it or the one after it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.atomic import write_bytes, write_text
from tbft.device.bundle import Bundle
from tbft.device.int8 import RANGES
from tbft.device.tensors import Tensors, read_tensors, write_tensors
from tbft.errors import BadInput

KEPT = 5
"""Number of adaptations that are kept, the latest included."""

_CURRENT, _LOCK, _DELTA, _RECORD = "current.json", "lock", ".delta", ".json"
_KIND = "tbft delta"

_REMEDIES_OF_WRITING = {
    errno.ENOSPC: "make room on it",
    errno.EDQUOT: "make room on it",
    errno.EFBIG: "raise the largest size that a file may have (ulimit -f)",
    errno.EROFS: "copy the bundle to where it can be written",
    errno.ENOENT: "make its folder",
}
"""What to do about an error of the operating system, by its number."""


@dataclass(frozen=True)
class Delta:
    """The weights that an adaptation changed.

    Attributes:
        tensors: changed weights by state-dict key.
        base: fingerprint of the base model that they belong to.
    """

    tensors: Tensors
    base: str

    def to_bytes(self) -> bytes:
        """Return the delta as a safetensors file, with a checksum of the tensors."""
        content = write_tensors(self.tensors)
        return write_tensors(self.tensors, {"kind": _KIND, "base": self.base, "sha256": _digest(content)})


def read_delta(content: bytes, name: str, bundle: Bundle) -> Delta:
    """Read a delta that belongs to a bundle's base model.

    Raises:
        BadInput: if it is no delta, was changed, belongs to another base model, or does not fit it.
    """
    try:
        tensors, metadata = read_tensors(content)
        whole = metadata.get("kind") == _KIND and metadata["sha256"] == _digest(write_tensors(tensors))
    except (ValueError, KeyError, UnicodeDecodeError):
        whole = False
    if not whole:
        raise BadInput(f"{name} is no delta of tbft, or was changed or cut short: copy it again, or revert")
    if metadata["base"] != bundle.fingerprint:
        raise BadInput(f"{name} belongs to another base model than {bundle.path}: apply it to the one it was made with")
    shapes = {key: value.shape for key, value in bundle.weights.items()}
    if RANGES in tensors:
        known = bundle.int8
        shapes[RANGES] = np.shape(known["ranges"]) if known else tensors[RANGES].shape  # not needed without int8
    for key, value in tensors.items():
        if shapes.get(key) != value.shape or not np.isfinite(value).all():
            raise BadInput(f"{name} does not fit the base model (its {key}): make it again")
    return Delta(tensors, metadata["base"])


class StateFolder:
    """The folder that keeps a bundle's adaptations.

    Args:
        bundle: the bundle.
        folder: path of the folder; ``None`` is ``pet.state`` beside ``pet.pyz``.
    """

    def __init__(self, bundle: Bundle, folder: Path | None = None) -> None:
        self.bundle = bundle
        self.folder = folder or bundle.path.with_suffix(".state")

    def current(self) -> Tensors:
        """Return the weights that the current adaptation has changed; empty for the base model.

        Raises:
            BadInput: if the state cannot be read, was changed, or belongs to another base model.
        """
        name = self._read()["current"]
        if name is None:
            return {}
        path = self.folder / f"{name}{_DELTA}"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): run revert") from None
        return read_delta(content, str(path), self.bundle).tensors

    def history(self) -> list[dict[str, Any]]:
        """Return the kept adaptations, oldest first: their names, and entries of their records."""
        state = self._read()
        found = []
        for name in state["history"]:
            try:
                record = json.loads((self.folder / f"{name}{_RECORD}").read_text())
            except (OSError, ValueError):
                record = {}
            entry = {key: record.get(key) for key in ("strategy", "accuracy", "finished", "int8")}
            found.append({"name": name, **entry, "current": name == state["current"]})
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock, and remove what an interrupted process left half-written.

        Raises:
            BadInput: if another process holds the lock, or the folder cannot be written.
        """
        import fcntl

        with translate_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(f"another process adapts {self.bundle.path} now: wait until it has ended") from None
            for left in self.folder.glob(".*.*"):
                left.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)  # and with it the lock

    def keep(self, tensors: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> str:
        """Keep an adaptation, make it current, and return its name; the caller holds the lock.

        Raises:
            BadInput: if the file system is full or cannot be written.
        """
        state = self._read()
        name = f"{state['last'] + 1:04d}"
        delta = Delta(dict(tensors), self.bundle.fingerprint)
        history = [*state["history"], name]
        with translate_write_errors(self.folder):
            try:
                write_bytes(self.folder / f"{name}{_DELTA}", delta.to_bytes())
                write_text(self.folder / f"{name}{_RECORD}", json.dumps(record, indent=1))
                self._write(name, history[-KEPT:], state["last"] + 1)
            except OSError:
                if self._read()["current"] != name:  # on a full card, what does not count only takes room
                    for suffix in (_DELTA, _RECORD):
                        (self.folder / f"{name}{suffix}").unlink(missing_ok=True)
                raise
        for path in self.folder.iterdir():
            if path.suffix in (_DELTA, _RECORD) and path.stem.isdecimal() and path.stem not in history[-KEPT:]:
                path.unlink(missing_ok=True)
        return name

    def revert(self, name: str | None = None) -> None:
        """Make the base model current, or an adaptation of the history by its name; the caller holds the lock.

        Raises:
            BadInput: if there is no such adaptation.
        """
        try:
            state = self._read()
        except BadInput:
            if name is not None or self._of_another_base():
                raise
            state = {"history": [], "last": self._largest_number()}  # the base model is always there to go back to
        if name is not None and name not in state["history"]:
            raise BadInput(f"there is no adaptation {name!r}: there are {', '.join(state['history']) or 'none'}")
        if name is not None:
            path = self.folder / f"{name}{_DELTA}"
            read_delta(path.read_bytes() if path.is_file() else b"", str(path), self.bundle)
        with translate_write_errors(self.folder):
            self._write(name, state["history"], state["last"])

    def delta(self) -> bytes | None:
        """Return the file of the current adaptation; ``None`` for the base model."""
        name = self._read()["current"]
        return (self.folder / f"{name}{_DELTA}").read_bytes() if name else None

    def _read(self) -> dict[str, Any]:
        path = self.folder / _CURRENT
        try:
            state = json.loads(path.read_text())
            base, current, last = state["base"], state["current"], int(state["last"])
            history = [str(name) for name in state["history"]]
            if not isinstance(base, str):
                raise ValueError("it names no base model")
            if current is not None and current not in history:
                raise ValueError(f"it does not hold {current!r}")
        except FileNotFoundError:
            return {"current": None, "history": [], "last": self._largest_number()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} cannot be read ({error}): run revert, which goes back to the base model") from None
        if base != self.bundle.fingerprint:
            raise BadInput(f"{self.folder} belongs to another base model than {self.bundle.path}: move it away")
        return {"current": current, "history": history, "last": last}

    def _write(self, current: str | None, history: list[str], last: int) -> None:
        state = {"base": self.bundle.fingerprint, "current": current, "history": history, "last": last}
        write_text(self.folder / _CURRENT, json.dumps(state))

    def _of_another_base(self) -> bool:
        try:
            base = json.loads((self.folder / _CURRENT).read_text())["base"]
            return isinstance(base, str) and base != self.bundle.fingerprint
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _largest_number(self) -> int:
        names = [path.stem for path in self.folder.glob(f"*{_DELTA}")] if self.folder.is_dir() else []
        return max((int(name) for name in names if name.isdecimal()), default=0)


@contextlib.contextmanager
def translate_write_errors(where: Path, whole: str = "what was kept before is whole") -> Iterator[None]:
    """Translate errors of writing a file into one line that says why, and what to do.

    Args:
        where: the file or its folder.
        whole: end of the line, which says what is not lost.

    Raises:
        BadInput: in place of ``OSError``.
    """
    try:
        yield
    except OSError as error:
        todo = _REMEDIES_OF_WRITING.get(error.errno or 0, "check its permissions")
        raise BadInput(f"{where} cannot be written ({error.strerror}): {todo}; {whole}") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
