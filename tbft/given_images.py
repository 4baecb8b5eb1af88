"""Read images and labels that are given from Python, for one classifier."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tbft.data.batches import Batch
from tbft.data.class_names import check_distinct
from tbft.data.copies import distinct_images
from tbft.data.images import Images, ImageSet, label_indices, labelled_files, load_images
from tbft.data.picture_folders import holds_folders
from tbft.errors import BadInput
from tbft.models.classifier import Classifier
from tbft.models.statistics import inference_mode_of
from tbft.paths import is_folder, user_path


@dataclass(frozen=True)
class GivenImages:
    """Images that a classifier takes, with labels in the order of its outputs.

    Attributes:
        x: images ``(N, C, H, W)``, uint8, or floating point as the model takes them.
        y: class indices ``(N,)``, int64; ``None`` without labels.
        classes: class names in the order of the model's outputs.
        strata: class indices ``(N,)`` as a folder of class folders numbers them, which order the draws of a split;
            ``None`` without labels.
        name: name of the folder, or ``images``.
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
    """Read images and labels for a classifier, leaving out copies of labelled images.

    Args:
        classifier: classifier that takes the images.
        images: images, as in ``tbft.personalize``.
        labels: labels, as in ``tbft.personalize``; a folder of class folders brings its own.
        classes: class names in the order of the model's outputs; by default those of the classifier.
        normalised: whether the caller gave a normalisation, which only uint8 images can use.

    Raises:
        BadInput: if the images, labels or class names cannot be used.
    """
    folder = user_path(str(images)) if isinstance(images, str | Path) and labels is None else None
    paths, names = labelled_files(folder) if folder and has_labels(images, labels) else ([], [])
    loaded = load_for(classifier, paths or images)
    if loaded.x.dtype != torch.uint8 and normalised:
        raise BadInput("images in floating point are taken as they are: leave mean= and std= out, or give uint8 images")
    known, count = _class_names(classifier, classes), len(loaded.x)
    told = names if paths else labels
    if labels is not None and isinstance(images, str | Path):
        _check_numbered(loaded.names)
    y, class_names, strata = label_indices([0] * count if told is None else told, count, known, classifier.num_classes)
    name = folder.resolve().name if folder else "images"
    x = loaded.x
    given = [None] * count if told is None else y.tolist()
    kept = list(range(count)) if paths else distinct_images(x.detach().cpu().numpy(), given)
    if len(kept) < count:
        x, y, strata = x[kept], y[kept], strata[kept]
    if told is None:
        return GivenImages(x, None, class_names, None, name)
    return GivenImages(x, y, class_names, strata, name)


def _check_numbered(files: Sequence[str]) -> None:
    """Make sure that the alphabet, in whose order a folder lists its files, does not mix up numbered ones."""
    for before, after in pairwise(files):
        if _with_numbers(before) > _with_numbers(after):
            raise BadInput(
                f"which label belongs to which picture is not certain: the folder lists {Path(before).name} before "
                f"{Path(after).name}; give a list of paths, in the order of the labels"
            )


def _with_numbers(file: str) -> list[tuple[int, str]]:
    """What sorts a path as people count: ``2.png`` before ``10.png``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file)]


def has_labels(images: Images, labels: Any) -> bool:
    """Return whether labels are given, or come with a folder of class folders.

    A path that is no folder counts as having labels; reading it raises the error.

    Raises:
        BadInput: if the folder cannot be read.
    """
    if labels is not None:
        return True
    folder = user_path(str(images)) if isinstance(images, str | Path) else None
    if folder is None or not is_folder(folder):
        return folder is not None
    return holds_folders(folder)


def side_of(images: Any) -> int | None:
    """Return the height of floating-point images, which a model takes unchanged; ``None`` for any other images."""
    shape = tuple(getattr(images, "shape", ()))
    dtype = getattr(images, "dtype", None)
    floating = dtype.is_floating_point if isinstance(dtype, torch.dtype) else getattr(dtype, "kind", "") == "f"
    if len(shape) != 4 or not floating:
        return None
    return shape[2] if shape[1] in (1, 3) else shape[1] if shape[3] in (1, 3) else None


def load_for(classifier: Classifier, images: Images, *, skip_broken: bool = False) -> ImageSet:
    """Load images into memory in the form that a classifier takes.

    Args:
        classifier: classifier that takes the images.
        images: images, as in ``tbft.personalize``.
        skip_broken: whether to list files that cannot be read instead of raising an error at the first.

    Raises:
        BadInput: if they are no images, or the classifier cannot take them.
    """
    loaded = load_images(images, classifier.image_size, skip_broken=skip_broken)
    x = _of_channels(loaded.x, classifier.model.channels)
    if x.dtype == torch.uint8:
        if not (classifier.mean and classifier.std):
            raise BadInput(
                "how this model normalises its images is not known: give mean= and std= (on the scale 0 to 1), or "
                "floating-point images as it takes them"
            )
    else:
        _check_normalised(classifier, x)
        _check_side(classifier, x)
    return replace(loaded, x=x)


def _of_channels(x: Tensor, channels: int) -> Tensor:
    """Return images with the given number of channels: RGB images that are all grey are reduced to one channel.

    Raises:
        BadInput: if they have another number of channels.
    """
    if x.dtype == torch.uint8 and channels == 1 and (x == x[:, :1]).all():
        return x[:, :1].contiguous()
    if x.shape[1] != channels:
        grey = ", such as picture.convert('L')" if channels == 1 else ""
        raise BadInput(f"images have {x.shape[1]} channels and the model takes {channels}: convert them{grey}")
    return x


def _check_normalised(classifier: Classifier, x: Tensor) -> None:
    """Raise ``BadInput`` if floating-point images have another range than normalised pictures.

    Pictures on the scale 0 to 1 that nobody normalised begin at 0, where normalised ones would have no dark pixel. A
    range that is three times as wide as that from black to white is none of normalised pictures either.
    """
    if not classifier.std:
        return
    low, high = float(x.min()), float(x.max())
    mean, std = (torch.tensor(part, dtype=torch.float64) for part in (classifier.mean, classifier.std))
    black, white = float((-mean / std).min()), float(((1 - mean) / std).max())
    is_plain = min(classifier.mean) > 0.1 and 0 <= low < 0.02 and high <= 1
    if is_plain or low < 2 * black - white or high > 2 * white - black:
        told = f"mean {list(classifier.mean)} and standard deviation {list(classifier.std)}"
        raise BadInput(
            f"images are floating-point numbers from {low:g} to {high:g}, and this model takes them normalised with "
            f"{told}: give uint8 pictures, or (x - mean) / std"
        )


@torch.no_grad()
def _check_side(classifier: Classifier, x: Tensor) -> None:
    """Run the model on one image if its size is not the model's own.

    Raises:
        BadInput: if the model cannot take the size.
    """
    side = classifier.image_size
    if x.shape[2:] == (side, side):
        return
    image = x[:1].to(next(classifier.parameters()).device)
    try:
        with inference_mode_of(classifier.model):
            classifier(Batch(image, torch.zeros(1, dtype=torch.int64)))
    except RuntimeError as error:
        raise BadInput(
            f"the model takes no images of {x.shape[2]} x {x.shape[3]} px ({str(error).splitlines()[0][:120]}): give "
            f"them with {side} px"
        ) from None


def _class_names(classifier: Classifier, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return class names in the order of the outputs: the caller's, or those that the model's file holds.

    Raises:
        BadInput: if the caller's are no names, are not distinct, or are the file's in another order.
    """
    if given is None:
        return classifier.classes
    if isinstance(given, str) or not all(isinstance(name, str) and name for name in given):
        raise BadInput(f"classes={given!r}: give one name, as text, for each of the model's outputs"[:400])
    check_distinct(given, "classes=")
    if sorted(given) == sorted(classifier.classes) and tuple(given) != classifier.classes:
        raise BadInput(
            "classes= has the names that the model's file holds in another order: leave it out, or mend the order"
        )
    return tuple(given)
