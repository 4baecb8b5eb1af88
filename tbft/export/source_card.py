"""The source card of a model that is exported: what a device needs to know of the source domain to see a drift."""

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
"""Source images that are looked at; more do not change their moments much."""


def read_source(
    folder: Path, size: int, classes: tuple[str, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Source pictures, drawn evenly over a folder, and their labels if they lie in the folders of the classes.

    Args:
        folder: of pictures, or of class folders.
        size: side that pictures are brought to, in pixels.
        classes: names in label order; empty if the model has none, which then counts its classes alphabetically.

    Returns:
        uint8 ``(N, 3, size, size)``, and ``(N,)`` or ``None``.
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
    """Measure the source card in the runtime of the device.

    Args:
        session: pixels to ``features`` of the head.
        pixels: source images that the model was not trained on ``(N, C, H, W)``.
        labels: ``(N,)``.
        head: of the model.
    """
    parts = [session(pixels=pixels[i : i + 100])["features"] for i in range(0, len(pixels), 100)]
    return measure_card(np.concatenate(parts).astype(np.float64), labels, head)


def tensors_of(card: SourceCard) -> dict[str, NDArray[Any]]:
    """A source card as tensors by name, without the moments, which a bundle holds apart."""
    values = {field.name: getattr(card, field.name) for field in fields(card) if field.name != "moments"}
    tensors = {name: np.asarray(value) for name, value in values.items() if value is not None}
    return {name: value.astype(np.float32) if value.ndim else value for name, value in tensors.items()}
