"""Files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_bytes(path: Path, content: bytes, *, previous: Path | None = None) -> None:
    """Write a file so that a crash or a power cut leaves the old content or the new, whole.

    The temporary file lies beside ``path``, so that the move stays on one file system. File and folder are flushed
    to the disk: without the folder's flush a power cut can undo the move.

    Args:
        path: file to write.
        content: what it holds from now on.
        previous: where the old content is kept, in the same folder; by default nowhere. A crash may leave
            ``previous`` alone, without ``path``.

    Raises:
        OSError: if it cannot be written (read-only folder, full disk); nothing is left behind.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        if previous is not None and path.exists():
            path.replace(previous)
        Path(name).replace(path)
        flush_folder(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """``write_bytes`` for UTF-8 text."""
    write_bytes(path, content.encode())


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of files to the disk; where the system cannot (Windows), do nothing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse it for folders
        pass
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
