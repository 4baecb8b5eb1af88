"""A device's pictures: class folders, a folder of unlabelled pictures, or arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tbft.data.class_names import check_order, match_classes
from tbft.data.copies import distinct_files, distinct_images
from tbft.data.picture_file import read_picture
from tbft.data.picture_folders import check_unsplit, class_folders, pictures_in
from tbft.device.memory import MemoryLimit
from tbft.errors import BadInput
from tbft.paths import is_folder
from tbft.progress import with_bar

Pixels = NDArray[np.uint8]

_RELEASED_AFTER = 64
"""Number of pictures after which pixels that lie in a file are dropped from memory."""


log = logging.getLogger(__name__)

Made = TypeVar("Made")


class BrokenPictures(BadInput):
    """Raised where files cannot be read as pictures.

    Attributes:
        reasons: what is wrong with a file, by its row.
    """

    def __init__(self, reasons: dict[int, str]) -> None:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        super().__init__(f"{next(iter(reasons.values()))}{more}: replace or remove it")
        self.reasons = reasons


class PictureFiles:
    """Picture files; each is decoded once, when its pixels are first needed.

    Args:
        paths: paths of the files.
        size: side that pictures are brought to, in pixels.
        limit: memory limit; pixels that exceed it lie in a file.
    """

    def __init__(self, paths: Sequence[Path], size: int, limit: MemoryLimit) -> None:
        self.paths, self.size, self.limit = paths, size, limit
        self._pixels = limit.empty((len(paths), 3, size, size), np.uint8)
        self._decoded = np.zeros(len(paths), bool)

    def at(self, rows: NDArray[np.int64]) -> Pixels:
        """Return the pixels ``(N, 3, size, size)`` of these files, in this order.

        Raises:
            BrokenPictures: if some of them cannot be read.
        """
        missing, broken = rows[~self._decoded[rows]], dict[int, str]()
        for count, row in enumerate(with_bar(missing, len(missing), "reading pictures")):
            try:
                self._pixels[row] = read_picture(self.paths[row], self.size)
                self._decoded[row] = True
            except BadInput as error:
                broken[int(row)] = str(error).split(": replace")[0]
            if count % _RELEASED_AFTER == 0:
                self.limit.release(self._pixels)
        if broken:
            raise BrokenPictures(broken)
        return _rows_of(self._pixels, rows, self.limit)


class PictureArray:
    """Pictures that are given as an array."""

    def __init__(self, pixels: Pixels, limit: MemoryLimit) -> None:
        self._pixels, self._limit = pixels, limit

    def at(self, rows: NDArray[np.int64]) -> Pixels:
        """Return the pixels of these pictures, in this order."""
        return _rows_of(self._pixels, rows, self._limit)


@dataclass(frozen=True)
class Sample:
    """Pictures of a device; their pixels are read when needed.

    Attributes:
        source: files or array that hold the pixels.
        rows: rows of the source that belong to the sample ``(N,)``.
        labels: class of each picture ``(N,)``; ``None`` without labels.
        names: paths of the files, or positions in the array.
        dataset: name of the folder.
    """

    source: PictureFiles | PictureArray
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    names: tuple[str, ...]
    dataset: str

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def pixels(self) -> Pixels:
        """Pixels of all pictures, uint8 ``(N, 3, H, W)``.

        Raises:
            BrokenPictures: if some of the files cannot be read.
        """
        return self.source.at(self.rows)

    def take(self, positions: NDArray[np.int64]) -> Sample:
        """Return the pictures at these positions, in this order."""
        labels = None if self.labels is None else self.labels[positions]
        names = tuple(self.names[int(i)] for i in positions)
        return Sample(self.source, self.rows[positions], labels, names, self.dataset)


def without_broken(work: Callable[[Sample], Made], sample: Sample) -> tuple[Made, Sample, dict[str, str]]:
    """Work on a sample, and start again without the pictures that turn out to be broken.

    A broken picture is named in a warning, and the result is the same as if its file were not there. Pictures are read
    when needed; a broken one that is never looked at stays unnoticed.

    Args:
        work: function of a sample.
        sample: the pictures.

    Returns:
        The result of ``work``, the sample without broken pictures, and the reason for each broken one by its name.

    Raises:
        BadInput: if no picture is left.
    """
    broken: dict[str, str] = {}
    while True:
        try:
            return work(sample), sample, broken
        except BrokenPictures as error:
            kept = [at for at, row in enumerate(sample.rows.tolist()) if row not in error.reasons]
            if not kept:
                raise
            for row, reason in error.reasons.items():
                log.warning("left out: %s", reason)
                broken[sample.names[sample.rows.tolist().index(row)]] = reason
            sample = sample.take(np.array(kept))


def read_labelled(
    folder: Path,
    classes: tuple[str, ...],
    size: int,
    limit: MemoryLimit,
    *,
    named: bool = True,
    may_lack: bool = False,
) -> Sample:
    """List the pictures in class folders; of files that are byte for byte the same only the first is taken.

    Args:
        folder: folder that holds a folder for each class.
        classes: class names in label order.
        size: side that pictures are brought to, in pixels.
        limit: memory limit; pixels that exceed it lie in a file.
        named: whether the base model names its classes; otherwise the folders are numbered in alphabetical order.
        may_lack: whether some of the classes may have no folder; without names all have one.

    Raises:
        BadInput: if there is no such folder, a folder is of no class, a class is missing that may not, or the folders
            of a model without class names are numbers that the alphabet puts in another order.
    """
    _check_folder(folder)
    check_unsplit(folder)
    found = class_folders(folder)
    if named:
        labels_of_found: Sequence[int] = match_classes(found, classes, may_lack=may_lack)
    elif len(found) == len(classes):
        check_order(found, "export it again with --classes, the names in the order of its outputs")
        labels_of_found = range(len(classes))
    else:
        raise BadInput(
            f"{folder} has {len(found)} class folders and the base model {len(classes)} classes without names: give a "
            "folder for each class, or export it again with --classes"
        )
    label_of = dict(zip(found, labels_of_found, strict=True))
    files = [(path, label_of[name]) for name in found for path in pictures_in(folder / name)]
    files = [files[at] for at in distinct_files(files)]
    labels = np.array([label for _, label in files], dtype=np.int64)
    return _sample_of([path for path, _ in files], labels, folder, size, limit)


def read_unlabelled(folder: Path, size: int, limit: MemoryLimit, *, distinct: bool = False) -> Sample:
    """List every picture in a folder and in the folders inside it, without labels.

    Args:
        folder: folder of the pictures.
        size: side that pictures are brought to, in pixels.
        limit: limit on memory; above it the pixels lie in a file.
        distinct: whether to take only the first of files that are byte for byte the same, as copies are no evidence.

    Raises:
        BadInput: if there is no such folder, or no picture in it.
    """
    _check_folder(folder)
    paths = pictures_in(folder)
    if distinct:
        paths = [paths[at] for at in distinct_files([(path, None) for path in paths])]
    return _sample_of(paths, None, folder, size, limit)


def of_arrays(
    pixels: Pixels,
    labels: NDArray[np.integer] | None,
    size: int,
    classes: int,
    limit: MemoryLimit | None = None,
    *,
    distinct: bool = False,
) -> Sample:
    """Make a sample of arrays; of labelled pictures that are pixel for pixel the same only the first is taken.

    Args:
        pixels: uint8 ``(N, 3, size, size)``.
        labels: class of each picture ``(N,)``, or ``None``.
        size: side of the images that the model takes, in pixels.
        classes: number of classes C.
        limit: memory limit; ``None`` is no limit.
        distinct: whether to take the first of copies without labels too.

    Raises:
        BadInput: if shapes, types or labels do not fit.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (3, size, size) or not len(pixels):
        raise BadInput(f"images are {pixels.dtype} {pixels.shape}: give uint8 (N, 3, {size}, {size}), at least one")
    source, rows = PictureArray(pixels, limit or MemoryLimit()), np.arange(len(pixels))
    if labels is None:
        rows = rows[distinct_images(pixels, [None] * len(pixels))] if distinct else rows
        return Sample(source, rows, None, tuple(map(str, rows)), "arrays")
    labels = np.asarray(labels)
    good = labels.shape == (len(pixels),) and labels.dtype.kind in "iu"
    if not good or labels.min() < 0 or labels.max() >= classes:
        raise BadInput(
            f"labels do not fit {len(pixels)} images: give one whole number from 0 to {classes - 1} for each"
        )
    rows = rows[distinct_images(pixels, labels.tolist())]
    return Sample(source, rows, labels[rows].astype(np.int64), tuple(map(str, rows)), "arrays")


def _sample_of(
    paths: Sequence[Path], labels: NDArray[np.int64] | None, folder: Path, size: int, limit: MemoryLimit
) -> Sample:
    files = PictureFiles(paths, size, limit)
    return Sample(files, np.arange(len(paths)), labels, tuple(map(str, paths)), folder.resolve().name)


def _rows_of(pixels: Pixels, rows: NDArray[np.int64], limit: MemoryLimit) -> Pixels:
    """Return these rows; the array itself if they are all of its rows in their order."""
    return pixels if np.array_equal(rows, np.arange(len(pixels))) else limit.take(pixels, rows)


def _check_folder(folder: Path) -> None:
    if not is_folder(folder):
        raise BadInput(f"{folder} is no folder: give one that holds pictures")
