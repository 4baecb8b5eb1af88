"""A device's pictures: folders of the classes, or a folder of unlabelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tbft.data.class_names import match_classes
from tbft.data.picture_file import read_picture
from tbft.data.picture_folders import class_folders, pictures_in
from tbft.device.memory import MemoryLimit
from tbft.errors import BadInput
from tbft.paths import is_folder
from tbft.progress import with_bar

_RELEASED_AFTER = 64
"""Pictures that are read before those in a file let go of their memory."""


@dataclass(frozen=True)
class Sample:
    """Pictures of a device.

    Attributes:
        pixels: uint8 ``(N, 3, H, W)``.
        labels: class of each ``(N,)``; ``None`` without labels.
        names: of the files.
        dataset: name of the folder.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    names: tuple[str, ...]
    dataset: str

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, positions: NDArray[np.int64], limit: MemoryLimit) -> Sample:
        """Some of the pictures, in this order."""
        labels = None if self.labels is None else self.labels[positions]
        return Sample(
            limit.take(self.pixels, positions), labels, tuple(self.names[int(i)] for i in positions), self.dataset
        )


def read_labelled(
    folder: Path, classes: tuple[str, ...], size: int, limit: MemoryLimit, *, named: bool = True
) -> Sample:
    """The pictures in the folders of the classes.

    Args:
        folder: holds a folder for each class.
        classes: names in label order.
        size: side that pictures are brought to, in pixels.
        limit: on memory; above it the pixels lie in a file.
        named: whether the names are the base model's own; otherwise it numbers its classes in alphabetical order.

    Raises:
        BadInput: if there is no such folder, a class is missing or too many, or a picture is broken.
    """
    _check_folder(folder)
    found = class_folders(folder)
    if named:
        labels_of_found: Sequence[int] = match_classes(found, classes)
    elif len(found) == len(classes):
        labels_of_found = range(len(classes))
    else:
        raise BadInput(
            f"{folder} has {len(found)} class folders and the base model {len(classes)} classes without names"
        )
    label_of = dict(zip(found, labels_of_found, strict=True))
    files = [(path, label_of[name]) for name in found for path in pictures_in(folder / name)]
    labels = np.array([label for _, label in files], dtype=np.int64)
    return _read([path for path, _ in files], labels, folder, size, limit)


def read_unlabelled(folder: Path, size: int, limit: MemoryLimit) -> Sample:
    """Every picture in a folder and in the folders inside it.

    Raises:
        BadInput: if there is no such folder, no picture in it, or a picture is broken.
    """
    _check_folder(folder)
    return _read(pictures_in(folder), None, folder, size, limit)


def of_arrays(pixels: NDArray[np.uint8], labels: NDArray[np.integer] | None, size: int, classes: int) -> Sample:
    """Pictures that are arrays already.

    Args:
        pixels: uint8 ``(N, 3, size, size)``.
        labels: ``(N,)`` or ``None``.
        size: side that the model takes, in pixels.
        classes: C.

    Raises:
        BadInput: if shapes, types or labels do not fit.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (3, size, size) or not len(pixels):
        raise BadInput(f"images are {pixels.dtype} {pixels.shape}: give uint8 (N, 3, {size}, {size}), at least one")
    names = tuple(map(str, range(len(pixels))))
    if labels is None:
        return Sample(pixels, None, names, "arrays")
    labels = np.asarray(labels)
    good = labels.shape == (len(pixels),) and labels.dtype.kind in "iu"
    if not good or labels.min() < 0 or labels.max() >= classes:
        raise BadInput(
            f"labels do not fit {len(pixels)} images: give one whole number from 0 to {classes - 1} for each"
        )
    return Sample(pixels, labels.astype(np.int64), names, "arrays")


def _read(paths: list[Path], labels: NDArray[np.int64] | None, folder: Path, size: int, limit: MemoryLimit) -> Sample:
    pixels = limit.empty((len(paths), 3, size, size), np.uint8)
    for at, path in enumerate(with_bar(paths, len(paths), "reading pictures")):
        try:
            pixels[at] = read_picture(path, size)
            if at % _RELEASED_AFTER == 0:
                limit.release(pixels)
        except BadInput as error:
            raise BadInput(f"{str(error).split(': replace')[0]}: replace or remove it") from None
    return Sample(pixels, labels, tuple(map(str, paths)), folder.resolve().name)  # type: ignore[arg-type]


def _check_folder(folder: Path) -> None:
    if not is_folder(folder):
        raise BadInput(f"{folder} is no folder: give one that holds pictures")
