"""Copies of one picture: one that validates has been trained on, and without labels it is no further evidence."""

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
    """Positions of the first of each image among its copies, pixel for pixel, in order; says how many there are.

    Args:
        pixels: images ``(N, C, H, W)``.
        labels: of each image, to say how many copies have another one; ``None`` for each that has none.
    """
    return _first_of_each([_digest(np.ascontiguousarray(image).data) for image in pixels], labels)


def distinct_files(files: Sequence[tuple[Path, Hashable]], **parts: Sequence[tuple[Path, Hashable]]) -> list[int]:
    """Positions of the first of each file among its copies, byte for byte, in order; says how many there are.

    Only files of one length are read. One that cannot be is left for its reader to complain of.

    Args:
        files: with their labels, ``None`` for each that has none.
        parts: other files by the name of their part, such as ``test``: copies in them are told and left where they are.
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
    """What is the same for files with the same content, and for no others."""
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
