"""Room for features: in memory, or in an unnamed file on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def room_in_memory(like: Tensor, count: int) -> Tensor:
    """Return an uninitialised tensor ``(count, ...)`` with type, memory layout and device of ``like`` ``(N, ...)``."""
    room = torch.empty((count, *like.shape[1:]), dtype=like.dtype, device=like.device)
    last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)
    return room.contiguous(memory_format=torch.channels_last) if last else room


def room_on_disk(like: Tensor, count: int, folder: Path) -> Tensor:
    """Return a tensor ``(count, ...)`` with the type of ``like`` ``(N, ...)`` in a file that vanishes with the process.

    Raises:
        OSError: if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = like[0].numel() * count * like.element_size()
    with tempfile.TemporaryFile(dir=folder) as file:
        # Disk space is claimed now, so that a full disk raises here and does not crash a later write to a page.
        _claim(file.fileno(), size)
        pages = np.memmap(file, dtype=np.uint8, mode="r+", shape=(size,))
    return torch.from_numpy(pages).view(like.dtype).view(count, *like.shape[1:])


def _claim(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
