"""The source card of an exported model: what a device must know about the source domain to detect drift."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.data.class_names import match_classes
from tbft.data.picture_file import read_picture
from tbft.data.picture_folders import class_folders, pictures_in
from tbft.device.runtime import Session
from tbft.errors import BadInput
from tbft.remedies import Head, SourceCard, measure_card

SOURCE_IMAGES = 500
"""Number of source images that are used; more do not change their moments much."""


def read_source(
    folder: Path, size: int, classes: tuple[str, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Read up to ``SOURCE_IMAGES`` pictures, spread evenly over a folder, and their labels if it has class folders.

    Args:
        folder: folder of pictures, or of class folders.
        size: side to which pictures are resized, in pixels.
        classes: class names in label order; if empty, class folders are numbered in alphabetical order.

    Returns:
        Pictures ``(N, 3, size, size)``, uint8, and class indices ``(N,)``, int64; ``None`` for these if the folder's
        class folders are not the model's classes.

    Raises:
        BadInput: if the folder has no pictures, or one cannot be read.
    """
    files = pictures_in(folder)
    chosen = np.linspace(0, len(files) - 1, min(SOURCE_IMAGES, len(files))).round().astype(int)
    paths = [files[int(i)] for i in chosen]
    pixels = np.stack([read_picture(path, size) for path in paths])
    try:
        found = class_folders(folder)
        label_of = dict(zip(found, match_classes(found, classes or found), strict=True))
        labels = [label_of[path.relative_to(folder).parts[0]] for path in paths]
    except (BadInput, KeyError):
        return pixels, None
    return pixels, np.array(labels, dtype=np.int64)


def measure_on(session: Session, pixels: NDArray[np.uint8], labels: NDArray[np.int64], head: Head) -> SourceCard:
    """Measure the source card with the device's runtime.

    Args:
        session: graph from pixels to ``features``, the head's input.
        pixels: source images ``(N, C, H, W)``, uint8, that the model was not trained on.
        labels: class indices ``(N,)``.
        head: head of the model.
    """
    parts = [session(pixels=pixels[i : i + 100])["features"] for i in range(0, len(pixels), 100)]
    return measure_card(np.concatenate(parts).astype(np.float64), labels, head)


def tensors_of(card: SourceCard) -> dict[str, NDArray[Any]]:
    """Return a source card as tensors by name, without its moments, which a bundle stores separately."""
    values = {field.name: getattr(card, field.name) for field in fields(card) if field.name != "moments"}
    tensors = {name: np.asarray(value) for name, value in values.items() if value is not None}
    return {name: value.astype(np.float32) if value.ndim else value for name, value in tensors.items()}
