"""Find copies of pictures: a copy of a training picture validates nothing, and without labels it adds no evidence."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.paths import is_file

log = logging.getLogger(__name__)


def distinct_images(pixels: NDArray[Any], labels: Sequence[Hashable]) -> list[int]:
    """Find the first of each group of images with equal pixels, and log how many copies there are.

    Args:
        pixels: images ``(N, C, H, W)``.
        labels: label of each image, used to count copies with another label; ``None`` for each that has none.

    Returns:
        Positions of the first images, in ascending order.
    """
    return _first_of_each([_digest(np.ascontiguousarray(image).data) for image in pixels], labels)


def distinct_files(files: Sequence[tuple[Path, Hashable]], **parts: Sequence[tuple[Path, Hashable]]) -> list[int]:
    """Find the first of each group of files with equal content, and log how many copies there are.

    Only files that share their length with another one are read. A file that cannot be read counts as no copy.

    Args:
        files: training files with their labels, ``None`` for each that has none.
        parts: files of other parts, by name such as ``test``; copies of training files in them are logged only.

    Returns:
        Positions in ``files`` of the first files, in ascending order.
    """
    keys = _contents([path for some in (files, *parts.values()) for path, _ in some])
    own, start = keys[: len(files)], len(files)
    trained = set(own)
    for name, some in parts.items():
        shared = sum(key in trained for key in keys[start : start + len(some)])
        start += len(some)
        if shared:
            told = "%d of %d pictures in %s are copies of ones that train: accuracy there tells less of new ones"
            log.warning(told, shared, len(some), name)
    return _first_of_each(own, [label for _, label in files])


def _contents(paths: Sequence[Path]) -> list[Hashable]:
    """Return a key for each file; two keys are equal only if both files have the same content and are not empty."""
    sizes = [path.stat().st_size if is_file(path) else 0 for path in paths]
    alike = Counter(sizes)
    keys: list[Hashable] = []
    for at, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        content = _content_of(path) if size and alike[size] > 1 else b""
        keys.append(_digest(content) if content else at)
    return keys


def _first_of_each(keys: Sequence[Hashable], labels: Sequence[Hashable]) -> list[int]:
    first: dict[Hashable, int] = {}
    for at, key in enumerate(keys):
        first.setdefault(key, at)
    kept = list(first.values())
    if len(kept) < len(keys):
        otherwise = sum(labels[first[key]] != label for key, label in zip(keys, labels, strict=True))
        told = f", {otherwise} of them with another label" if otherwise else ""
        labelled = labels[0] is not None
        log.warning(
            "%d of %d %spictures are copies of others%s: the first of each counts, for a copy %s",
            len(keys) - len(kept),
            len(keys),
            "labelled " if labelled else "",
            told,
            "cannot judge what was trained on its twin" if labelled else "is no further evidence",
        )
    return kept


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
