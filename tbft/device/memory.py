"""A limit on this process's memory, kept by working in pieces."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.errors import BadInput

LARGEST_BATCH = 256
"""Most images in one pass; so many are enough for BatchNorm statistics."""

LEAST_BATCH = 8
"""Fewest images in a batch from which statistics or moments are estimated; fewer would distort them."""

_SHARE, _MOST = 0.5, 0.9
"""Shares of the memory left under the limit that a piece may take by estimate: any piece, and the smallest one."""


_M_MMAP_THRESHOLD, _RETURNED_BYTES = -3, 2**17
"""``M_MMAP_THRESHOLD`` of malloc.h; blocks from 128 KiB on are returned when they are freed."""


class MemoryLimit:
    """The largest memory that this process may take.

    Args:
        mib: resident memory in MiB; ``None`` is no limit.
        folder: folder for temporary files that hold what does not fit.
    """

    def __init__(self, mib: float | None = None, folder: Path | None = None) -> None:
        self.mib, self.folder = mib, folder
        if mib is not None:
            _return_freed_memory()

    def batch(self, image_bytes: float, least: int = 1) -> int:
        """Return how many images fit into one piece of work, at most ``LARGEST_BATCH``.

        Args:
            image_bytes: memory that one image takes, in bytes.
            least: fewest images that the work needs.

        Raises:
            BadInput: if not even ``least`` images fit.
        """
        if self.mib is None:
            return LARGEST_BATCH
        fitting = int(_SHARE * self._left() / image_bytes)
        if fitting < least and self.allows(image_bytes, least):
            return least
        if fitting < least:
            raise BadInput(
                f"a memory limit of {self.mib:g} MiB is too low: the process itself takes {resident_mib():.0f} MiB, "
                f"and the least piece of work {least * image_bytes / 2**20:.1f} MiB more; raise --memory-mib"
            )
        return min(fitting, LARGEST_BATCH)

    def allows(self, image_bytes: float, images: int) -> bool:
        """Return whether so many images, of ``image_bytes`` bytes each, fit into one piece of work."""
        return self.mib is None or images * image_bytes <= _MOST * self._left()

    def empty(self, shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
        """Return an array to fill; if it exceeds half of the memory left, it lies in a temporary file."""
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if self.mib is None:
            return np.empty(shape, kind)
        if size <= self._left() / 2:
            array = np.empty(shape, kind)
            array.fill(0)  # takes its memory now, so that the next piece of work counts it
            return array
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.memmap(file, kind, "w+", shape=shape)

    def take(self, array: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[Any]:
        """Copy rows of an array, in this order, into an array made by ``empty``."""
        taken = self.empty((len(positions), *array.shape[1:]), array.dtype.type)
        for start in range(0, len(positions), LARGEST_BATCH):
            chosen = slice(start, start + LARGEST_BATCH)
            taken[chosen] = array[positions[chosen]]
            self.release(array, taken)
        return taken

    def pieces(self, array: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
        """Yield an array in pieces of ``size`` rows; of an array in a file only the present piece takes memory."""
        for start in range(0, len(array), size):
            yield array[start : start + size]
            self.release(array)

    @staticmethod
    def release(*arrays: NDArray[Any]) -> None:
        """Drop the pages of arrays in files from memory; they are read again when needed."""
        for array in arrays:
            if isinstance(array, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
                array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined] # numpy has no other way to it

    def _left(self) -> float:
        assert self.mib is not None
        _call_libc("malloc_trim", 0)  # what was freed and kept is no longer counted
        return max(0.0, (self.mib - resident_mib()) * 2**20)


def _return_freed_memory() -> None:
    """Make the C library return large blocks to the system when they are freed.

    By default its threshold grows with the largest freed block, and the memory of a finished piece of work stays with
    the process.
    """
    _call_libc("mallopt", _M_MMAP_THRESHOLD, _RETURNED_BYTES)


def _call_libc(function: str, *arguments: int) -> None:
    """Call a function of the GNU C library; do nothing where another C library is in use."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), function)(*arguments)


def resident_mib() -> float:
    """Return the resident memory of this process in MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
