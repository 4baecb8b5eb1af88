"""CIFAR-10: its training images are the source domain, its test images the target domain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbft.data.class_folders import Labelled, open_files
from tbft.data.domain import DomainData
from tbft.data.download import fetch_archive
from tbft.data.picture_file import resize
from tbft.data.picture_folders import pictures_in
from tbft.data.pictures import Pictures
from tbft.data.splits import Indices
from tbft.errors import BadInput
from tbft.paths import user_path

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Class names in label order."""

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Md5 sum of the archive, published by its authors beside the link."""

_RECORD = 1 + 3 * 32 * 32
_FILES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_ALL_FILES = _FILES["train"] + _FILES["test"]


class CIFAR10(DomainData):
    """CIFAR-10 (Krizhevsky 2009), from its authors' binary files or from class folders.

    The source domain is the training images, and a base model is tested on the test images. The target domain is the
    10,000 test images, to which a corruption or a label map is applied. ``root`` is searched for pictures in
    ``{train,test}/<class>``, and for ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, also inside
    ``cifar-10-batches-bin``.

    Args:
        root: folder of the data set.
        download: fetch the authors' archive (162 MiB) into ``root`` and unpack it, unless it is there.
        url: address of the archive, for a mirror.
        kwargs: options that all data sets share (see ``DomainData``).
    """

    name = "cifar10"
    classes = CLASSES
    drifts_as_told = True

    def __init__(self, root: str, download: bool = False, url: str = URL, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root, self.download, self.url = user_path(root), download, url

    def open(self) -> Pictures:
        """Open the images of the chosen domain.

        Raises:
            BadInput: if they are missing, or a binary file has a wrong size.
        """
        parts = {"train": "train", "test": "test"} if self.domain == "source" else {"train": "test"}
        if all((self.root / folder).is_dir() for folder in parts.values()):
            files = {part: self._in_folders(self.root / folder) for part, folder in parts.items()}
            return open_files(files, self.image_size, skip_broken=self.skip_broken)
        records = {part: self._records(folder) for part, folder in parts.items()}
        return _open_records(records, self.image_size)

    def _in_folders(self, folder: Path) -> Labelled:
        if missing := [name for name in CLASSES if not (folder / name).is_dir()]:
            raise BadInput(f"{folder} lacks a folder for class {', '.join(missing)}: add it")
        return [(path, label) for label, name in enumerate(CLASSES) for path in pictures_in(folder / name)]

    def _records(self, part: str) -> dict[Path, NDArray[np.uint8]]:
        """Map the records of each binary file into memory: ``(N, 3073)`` bytes, the label, then red, green and blue."""
        inside = self.root / "cifar-10-batches-bin"
        folder = next((place for place in (self.root, inside) if not _missing(place, _FILES[part])), None)
        if folder is None and self.download:
            fetch_archive(self.url, MD5, inside, _ALL_FILES.__contains__, lambda: not _missing(inside, _ALL_FILES))
            folder = inside
        if folder is None:
            raise BadInput(
                f"{self.root} has neither {part}/<class> folders nor every binary file of CIFAR-10 "
                f"({self._found(part)}): give --data.download true to fetch them, or another data.root"
            )
        records = {}
        for name in _FILES[part]:
            file = folder / name
            size = file.stat().st_size
            if not size or size % _RECORD:
                raise BadInput(
                    f"{file} has {size} bytes, no multiple of {_RECORD}: it is incomplete or no CIFAR-10 file; "
                    "remove it and download it again"
                )
            records[file] = np.memmap(file, np.uint8, "r").reshape(-1, _RECORD)
        return records

    def _found(self, part: str) -> str:
        """Say what ``root`` holds of a part that is not complete."""
        for folder in (self.root, self.root / "cifar-10-batches-bin"):
            missing = _missing(folder, _FILES[part])
            if len(missing) < len(_FILES[part]):
                return f"{folder} lacks {', '.join(missing)}"
        if pickled := next(self.root.rglob("data_batch_1"), None):
            return f"{pickled.parent} holds pickles, which could run code"
        return "nothing of it is there"


def _missing(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if not (folder / name).is_file()]


def _open_records(parts: dict[str, dict[Path, NDArray[np.uint8]]], size: int) -> Pictures:
    tables = [table for part in parts.values() for table in part.values()]
    files = [file for part in parts.values() for file in part]
    starts = np.cumsum([0, *map(len, tables)])
    train = sum(map(len, parts["train"].values()))

    def read(wanted: Indices) -> Tensor:
        of_table = np.searchsorted(starts, wanted, side="right") - 1
        pixels = np.empty((len(wanted), 3, 32, 32), np.uint8)
        for number, table in enumerate(tables):
            here = of_table == number
            pixels[here] = table[wanted[here] - starts[number], 1:].reshape(-1, 3, 32, 32)
        return torch.from_numpy(resize(pixels, size))

    def where(position: int) -> str:
        number = int(np.searchsorted(starts, position, side="right")) - 1
        return f"{files[number]} (record {position - starts[number]})"

    return Pictures(
        np.concatenate([table[:, 0] for table in tables]).astype(np.int64),
        read,
        test=np.arange(train, starts[-1]) if "test" in parts else None,
        where=where,
    )
