"""A bundle of the digits' base models, exported once for all tests, and pictures of digits as a device has them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbft.data import Digits
from tbft.export.bundle import export_bundle
from tbft.models import BaseWeights, BlockChain, build, load_weights, read_weights

Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]


@cache
def base_model(name: str) -> tuple[BlockChain, BaseWeights]:
    """A shipped base model; not to be changed."""
    base = read_weights(name)
    network = base.network
    chain = build(
        str(network["architecture"]),
        num_classes=int(network["num_classes"]),
        image_size=base.image_size,
        width=int(network.get("width", 16)),
    )
    load_weights(chain, base)
    return chain.eval(), base


@cache
def bundle_bytes(name: str = "digits", *, int8: bool = False) -> bytes:
    """A bundle of a shipped base model."""
    chain, base = base_model(name)
    source = pictures("source" if name == "digits" else "source of superclasses")
    with tempfile.TemporaryDirectory() as folder:
        path = export_bundle(
            chain,
            Path(folder) / "pet.pyz",
            classes=base.classes,
            mean=base.mean,
            std=base.std,
            source=source[0],
            source_labels=source[1],
            int8=int8,
        )
        return path.read_bytes()


def write_bundle(folder: Path, name: str = "digits", *, int8: bool = False) -> Path:
    """A bundle in a folder of its own."""
    path = folder / "pet.pyz"
    path.write_bytes(bundle_bytes(name, int8=int8))
    return path


@cache
def pictures(drift: str, part: str = "train") -> Pictures:
    """Digits ``(N, 3, 16, 16)`` and labels: ``source``, or drifted at level ``input``, ``feature`` or ``output``."""
    options = {
        "source": {"domain": "source", "train_size": 200},
        "source of superclasses": {"task": "superclasses", "domain": "source", "train_size": 150},
        "input": {"corruption": "contrast", "train_size": 200},
        "feature": {"task": "superclasses", "train_size": 300},
        "output": {"label_map": "flip", "train_size": 200},
    }[drift]
    data = Digits(image_size=16, **options)  # type: ignore[arg-type]
    data.setup()
    chosen = data.train if part == "train" else data.test
    assert chosen is not None
    return chosen.x.numpy(), chosen.y.numpy()  # type: ignore[union-attr]


def write_pictures(folder: Path, drift: str, classes: tuple[str, ...], count: int = 60, part: str = "train") -> Path:
    """Class folders of some drifted digits."""
    pixels, labels = pictures(drift, part)
    for i in range(min(count, len(labels))):
        name = folder / classes[labels[i]] / f"{i:03d}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i].transpose(1, 2, 0)).save(name)
    return folder
