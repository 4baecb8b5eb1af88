"""Checksums of weights files, because neither ``torch.load`` nor ``safetensors`` compares one."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def check_zip(path: Path) -> None:
    """Check the checksums in a file that ``torch.save`` wrote.

    Raises:
        zipfile.BadZipFile: if the file is incomplete or was changed.
        OSError: if the file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            changed = archive.testzip()
        except (NotImplementedError, EOFError, ValueError, RuntimeError) as error:  # caused by a changed header
            raise zipfile.BadZipFile(str(error)) from None
        if changed is not None:
            raise zipfile.BadZipFile(f"its part {changed} was changed since it was written")


def digest(weights: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Return the SHA-256 digest of tensors (names, types, shapes, values) and of their metadata.

    Args:
        weights: tensors by state-dict key, in any order, on any device.
        metadata: metadata in the same file.

    Returns:
        Digest of 64 hexadecimal digits.
    """
    found = hashlib.sha256(json.dumps(dict(metadata or {}), sort_keys=True).encode())
    for key, value in sorted(weights.items()):
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
    return found.hexdigest()
