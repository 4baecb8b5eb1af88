"""CIFAR-10-C: the benchmark's own corrupted test images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbft.data.cifar10 import CLASSES
from tbft.data.domain import DomainData
from tbft.data.download import check_md5, fetch_archive
from tbft.data.picture_file import resize
from tbft.data.pictures import Pictures
from tbft.data.splits import Indices
from tbft.errors import BadInput
from tbft.paths import user_path

URL = "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar?download=1"
_ARCHIVE = "CIFAR-10-C.tar"


class CIFAR10C(DomainData):
    """CIFAR-10-C (Hendrycks and Dietterich 2019, arXiv:1903.12261), from the authors' files.

    ``root``, or a folder ``CIFAR-10-C`` inside it, holds ``<corruption>.npy``, the 10,000 test images at five
    severities one after the other, and ``labels.npy``. The files are memory-mapped and their md5 sums are checked once.
    There is a target domain only: a base model is trained on ``CIFAR10``.

    Args:
        root: folder of the files.
        download: fetch the archive (2.7 GiB, as much again while it is unpacked) into ``root``, unless the
            files are there.
        check_md5: check the files' md5 sums; ``false`` accepts other files of the same layout.
        url: address of the archive, for a mirror.
        kwargs: options that all data sets share (see ``DomainData``); ``corruption`` names the file, ``severity``
            the part of it.
    """

    name = "cifar10c"
    classes = CLASSES
    drifts_as_told = True

    def __init__(
        self, root: str, download: bool = False, check_md5: bool = True, url: str = URL, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.root, self.download, self.check_md5, self.url = user_path(root), download, check_md5, url

    def open(self) -> Pictures:
        """Open the images of the chosen corruption and severity.

        Raises:
            BadInput: if the domain is ``source``, the corruption or severity is unknown, or a file is missing, has
                another md5 sum, or another layout.
        """
        sums = md5_sums()
        known = sorted(Path(name).stem for name in sums if name.endswith(".npy") and name != "labels.npy")
        if self.domain == "source":
            raise BadInput("CIFAR-10-C has no source domain: train the base model on data.class_path CIFAR10")
        if self.corruption not in known:
            raise BadInput(f"data.corruption is {self.corruption!r}: choose one of {', '.join(known)}")
        if self.severity not in range(1, 6):
            raise BadInput(f"data.severity is {self.severity}: choose one of 1, 2, 3, 4, 5")
        names = (f"{self.corruption}.npy", "labels.npy")
        folder = self._folder(names, sums)
        if self.check_md5:
            for name in names:
                check_md5(folder / name, sums[name])
        images, labels = (_mapped(folder / name) for name in names)
        if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8 or len(images) % 5:
            raise BadInput(
                f"{folder / names[0]} holds {images.dtype} of shape {images.shape}: five severities of images as "
                "uint8 (N, 32, 32, 3) are expected; download the file again"
            )
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise BadInput(
                f"{folder / names[1]} holds {labels.dtype} of shape {labels.shape}: a whole number for each of the "
                f"{len(images)} images of {names[0]} is expected; download both again"
            )
        count = len(images) // 5
        first = (self.severity - 1) * count

        def read(positions: Indices) -> Tensor:
            pixels = images[first + positions].transpose(0, 3, 1, 2)
            return torch.from_numpy(resize(np.ascontiguousarray(pixels), self.image_size))

        return Pictures(
            labels[first : first + count].astype(np.int64),
            read,
            where=lambda i: f"{folder / names[1]} (entry {first + i})",
            corrupted=True,
        )

    def _folder(self, names: Sequence[str], sums: dict[str, str]) -> Path:
        """Return the folder with these files, after downloading and unpacking them if ``download`` says so."""
        inside = self.root / "CIFAR-10-C"
        for folder in (self.root, inside):
            if all((folder / name).is_file() for name in names):
                return folder
        if not self.download:
            missing = next(name for name in names if not any((f / name).is_file() for f in (self.root, inside)))
            raise BadInput(
                f"{self.root} has no {missing} of CIFAR-10-C: give --data.download true to fetch it (2.7 GiB), another "
                "data.root, or data.class_path CIFAR10, which makes the corruption from CIFAR-10 itself"
            )
        files = [inside / name for name in sums if name != _ARCHIVE]
        fetch_archive(self.url, sums[_ARCHIVE], inside, sums.__contains__, lambda: all(f.is_file() for f in files))
        return inside


def md5_sums() -> dict[str, str]:
    """Return the md5 sums of the archive and its files, by name, as published with them (Zenodo, record 2535967)."""
    return json.loads((resources.files("tbft.data") / "tables" / "cifar10c_md5.json").read_text())


def _mapped(path: Path) -> NDArray[Any]:
    """Map an array in a file into memory; pickles are refused."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} cannot be read as an array ({reason}): download it again") from None
