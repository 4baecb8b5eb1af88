"""Images and labels as people have them in Python, for one classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tbft.data.images import Images, label_indices, labelled_files, load_images
from tbft.errors import BadInput
from tbft.models.classifier import Classifier


@dataclass(frozen=True)
class GivenImages:
    """Images that a classifier takes, and their labels as it numbers its classes.

    Attributes:
        x: ``(N, C, H, W)``, uint8, or floating point as the model takes them.
        y: labels ``(N,)``, int64; ``None`` without labels.
        classes: names in the order of the model's outputs.
        strata: labels as a folder of class folders numbers them; ``None`` without labels.
        name: of the folder, or ``images``.
    """

    x: Tensor
    y: Tensor | None
    classes: tuple[str, ...]
    strata: Tensor | None
    name: str


def read_given(
    classifier: Classifier,
    images: Images,
    labels: Any = None,
    *,
    classes: Sequence[str] | None = None,
    normalised: bool = False,
) -> GivenImages:
    """Read images and labels; a folder of class folders brings its labels.

    Args:
        classifier: that is to take them.
        images: see ``tbft.personalize``.
        labels: likewise.
        classes: class names in the order of the model's outputs; by default those that it knows.
        normalised: whether the caller says how uint8 images are normalised.

    Raises:
        BadInput: if they cannot be used.
    """
    folder = Path(images).expanduser() if isinstance(images, str | Path) and labels is None else None
    paths, names = labelled_files(folder) if folder and has_labels(images, labels) else ([], [])
    loaded = load_images(paths or images, classifier.image_size)
    _check_takes(classifier, loaded.x, normalised)
    known, count = classes or classifier.classes, len(loaded.x)
    told = names if paths else labels
    y, class_names, strata = label_indices([0] * count if told is None else told, count, known, classifier.num_classes)
    name = folder.resolve().name if folder else "images"
    return GivenImages(loaded.x, None if told is None else y, class_names, None if told is None else strata, name)


def has_labels(images: Images, labels: Any) -> bool:
    """Whether labels are given, or come with a folder of class folders."""
    if labels is not None:
        return True
    folder = Path(images).expanduser() if isinstance(images, str | Path) else None
    return folder is not None and not (folder.is_dir() and not any(path.is_dir() for path in folder.iterdir()))


def side_of(images: Any) -> int | None:
    """Side of images that the model takes as they are."""
    shape = tuple(getattr(images, "shape", ()))
    floating = str(getattr(images, "dtype", "")).removeprefix("torch.").startswith(("float", "bfloat"))
    if len(shape) != 4 or not floating:
        return None
    return shape[2] if shape[1] in (1, 3) else shape[1] if shape[3] in (1, 3) else None


def _check_takes(classifier: Classifier, x: Tensor, normalised: bool) -> None:
    """Make sure that the images can be what the model takes."""
    if x.dtype == torch.uint8 and not (classifier.mean and classifier.std):
        raise BadInput(
            "how this model normalises its images is not known: give mean= and std= (on the scale 0 to 1), or "
            "floating-point images as it takes them"
        )
    if x.dtype != torch.uint8 and normalised:
        raise BadInput("images in floating point are taken as they are: leave mean= and std= out, or give uint8 images")
