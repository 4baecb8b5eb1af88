"""A limit on this process's memory, held by working in pieces."""

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
"""Images in one forward pass; more make it no faster, and as many make BatchNorm statistics that hold."""

LEAST_BATCH = 8
"""Images in a batch whose statistics or moments count; fewer make them other ones."""

_SHARE, _MOST = 0.5, 0.9
"""Of the memory that is left under the limit, what one piece may take by estimate; what the least piece may take."""


_M_MMAP_THRESHOLD, _RETURNED_BYTES = -3, 2**17
"""``M_MMAP_THRESHOLD`` of malloc.h; blocks from 128 KiB on are returned when they are freed."""


class MemoryLimit:
    """How much this process may take.

    Args:
        mib: resident memory in MiB; ``None`` is no limit.
        folder: where what does not fit is put.
    """

    def __init__(self, mib: float | None = None, folder: Path | None = None) -> None:
        self.mib, self.folder = mib, folder
        if mib is not None:
            _return_freed_memory()

    def batch(self, image_bytes: float, least: int = 1) -> int:
        """How many images fit into one piece of work.

        Args:
            image_bytes: that one image takes.
            least: images without which the work makes no sense.

        Raises:
            BadInput: if not even these fit.
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
        """Whether so many images fit into one piece of work."""
        return self.mib is None or images * image_bytes <= _MOST * self._left()

    def empty(self, shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
        """An array to be filled; one that would take half of what is left lies in a file that vanishes with it."""
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
        """Some rows of an array, in this order, as ``empty`` puts them."""
        taken = self.empty((len(positions), *array.shape[1:]), array.dtype.type)
        for start in range(0, len(positions), LARGEST_BATCH):
            chosen = slice(start, start + LARGEST_BATCH)
            taken[chosen] = array[positions[chosen]]
            self.release(array, taken)
        return taken

    def pieces(self, array: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
        """An array in pieces of so many rows, of which only the one that is passed on takes memory."""
        for start in range(0, len(array), size):
            yield array[start : start + size]
            self.release(array)

    @staticmethod
    def release(*arrays: NDArray[Any]) -> None:
        """Let go of the pages of arrays that lie in files; they are read again when they are needed."""
        for array in arrays:
            if isinstance(array, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
                array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined] # numpy has no other way to it

    def _left(self) -> float:
        assert self.mib is not None
        _call_libc("malloc_trim", 0)  # what was freed and kept is no longer counted
        return max(0.0, (self.mib - resident_mib()) * 2**20)


def _return_freed_memory() -> None:
    """Let the C library return large blocks to the system when they are freed, instead of keeping them.

    Its own threshold grows with the largest block that was freed, so that a piece of work would be counted for ever.
    """
    _call_libc("mallopt", _M_MMAP_THRESHOLD, _RETURNED_BYTES)


def _call_libc(function: str, *arguments: int) -> None:
    """Call a function of the GNU C library; do nothing where there is another one."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), function)(*arguments)


def resident_mib() -> float:
    """Memory that this process has in use, in MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
