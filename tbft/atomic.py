"""Write files atomically: after a crash a file has its old content or its new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_bytes(path: Path, content: bytes, *, previous: Path | None = None) -> None:
    """Write a file so that a crash or a power cut leaves either the old content or the new one, complete.

    The content goes to a temporary file beside ``path``, which is then renamed, so that the rename stays on one file
    system. File and folder are flushed to the disk: without the folder's flush a power cut can undo the rename.

    Args:
        path: file to write.
        content: new content.
        previous: file in the same folder that keeps the old content; by default it is not kept. A crash may leave
            ``previous`` without ``path``.

    Raises:
        OSError: if the file cannot be written (read-only folder, full disk); the temporary file is then removed.
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
    """Write text as UTF-8, as ``write_bytes`` does."""
    write_bytes(path, content.encode())


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of files to the disk; do nothing if the system cannot (Windows)."""
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
