"""A limit on this process's memory, held by working in pieces."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tbft.errors import BadInput

LARGEST_BATCH = 256
"""Images in one forward pass; more make it no faster, and as many make BatchNorm statistics that hold."""

_SHARE = 0.6
"""Of the memory that is left under the limit, what one piece may take by estimate."""


class MemoryLimit:
    """How much this process may take.

    Args:
        mib: resident memory in MiB; ``None`` is no limit.
        folder: where what does not fit is put.
    """

    def __init__(self, mib: float | None = None, folder: Path | None = None) -> None:
        self.mib, self.folder = mib, folder

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
        if fitting < least:
            raise BadInput(
                f"a memory limit of {self.mib:g} MiB is too low: the process itself takes {resident_mib():.0f} MiB, "
                f"and the least piece of work {least * image_bytes / 2**20:.1f} MiB more; raise --memory-mib"
            )
        return min(fitting, LARGEST_BATCH)

    def empty(self, shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[np.generic]:
        """An array to be filled; one that would take half of what is left lies in a file that vanishes with it."""
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if self.mib is None or size <= self._left() / 2:
            return np.empty(shape, kind)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.memmap(file, kind, "w+", shape=shape)

    def _left(self) -> float:
        assert self.mib is not None
        return max(0.0, (self.mib - resident_mib()) * 2**20)


def resident_mib() -> float:
    """Memory that this process has in use, in MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
