"""Open labelled picture files, such as those in one folder for each class."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tbft.data.picture_file import read_picture
from tbft.data.pictures import Pictures
from tbft.data.splits import Indices
from tbft.errors import BadInput
from tbft.progress import with_bar

log = logging.getLogger(__name__)

Labelled = Sequence[tuple[Path, int]]

_HEAVY_BYTES = 32 * 1024
"""File size from which on several threads read faster: two threads read photographs twice as fast as one, but pictures
of 32 to 64 pixels no faster, because Python's lock then outweighs decoding."""


def open_files(parts: Mapping[str, Labelled], size: int, *, skip_broken: bool = False) -> Pictures:
    """Open labelled picture files as the pictures of a domain; a file is read when its pixels are needed.

    Args:
        parts: files and class indices of the part ``train``, and of ``validation`` and ``test`` if the data set has
            parts of its own.
        size: side to which pictures are resized, in pixels.
        skip_broken: whether to read each file once now, and leave out those that cannot be read.
    """
    listed = {part: list(files) for part, files in parts.items()}
    skipped = 0
    if skip_broken:
        listed = {part: _whole(files, size) for part, files in listed.items()}
        skipped = sum(len(files) - len(listed[part]) for part, files in parts.items())
    paths = [path for files in listed.values() for path, _ in files]
    labels = np.array([label for files in listed.values() for _, label in files], dtype=np.int64)
    positions, start = {}, 0
    for part, files in listed.items():
        positions[part] = np.arange(start, start + len(files))
        start += len(files)

    def read(wanted: Indices) -> Tensor:
        chosen = [paths[int(i)] for i in wanted]
        pixels = np.empty((len(chosen), 3, size, size), np.uint8)

        def decode(at: int) -> None:
            pixels[at] = read_picture(chosen[at], size)

        _each(decode, chosen)
        return torch.from_numpy(pixels)

    return Pictures(
        labels,
        read,
        validation=positions.get("validation"),
        test=positions.get("test"),
        where=lambda i: str(paths[i]),
        identity=lambda i: _identity(paths[i]),
        skipped=skipped,
    )


def _identity(path: Path) -> str:
    """Return a picture's class folder, name and size; without the size if the file cannot be looked at."""
    try:
        return f"{path.parent.name}/{path.name}: {path.stat().st_size} bytes"
    except OSError:  # whoever reads the file says so
        return f"{path.parent.name}/{path.name}"


def _whole(files: Labelled, size: int) -> list[tuple[Path, int]]:
    """Return the files that can be read, and log each of the others."""
    whole = [True] * len(files)

    def check(at: int) -> None:
        try:
            read_picture(files[at][0], size)
        except BadInput as error:
            whole[at] = False
            log.warning("skipped: %s", str(error).split(": replace")[0])

    _each(check, [path for path, _ in files])
    return [file for file, good in zip(files, whole, strict=True) if good]


def _each(work: Callable[[int], None], paths: Sequence[Path]) -> None:
    """Call ``work`` for the position of each path, in as many threads as torch uses if the files are large enough.

    Args:
        work: function of a position.
        paths: paths; the size of the first one decides between one thread and several.
    """
    threads, count = torch.get_num_threads(), len(paths)
    title = f"reading {count} pictures"
    if count < 2 or threads < 2 or not paths[0].is_file() or paths[0].stat().st_size < _HEAVY_BYTES:
        for at in with_bar(range(count), count, title):
            work(at)
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            for _ in with_bar(pool.map(work, range(count)), count, title):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)  # stop at the first broken picture
            raise
