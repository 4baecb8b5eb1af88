"""Load images and labels that are given from Python: arrays, tensors, PIL pictures, paths or a folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tbft.data.class_names import check_order, match_classes
from tbft.data.copies import distinct_files
from tbft.data.picture_file import read_picture, resize, square_pixels
from tbft.data.picture_folders import check_unsplit, class_folders, pictures_in
from tbft.errors import BadInput
from tbft.paths import user_path
from tbft.progress import with_bar

Images = Tensor | np.ndarray | str | Path | Sequence[Any]
"""A tensor or array ``(N, C, H, W)`` (arrays also ``(N, H, W, C)``), uint8 or floating point; a list of PIL pictures,
paths or uint8 arrays; or a folder."""

_TYPES = "give uint8 (0 to 255), or floating point as the model takes them"


@dataclass(frozen=True)
class ImageSet:
    """Images in memory.

    Attributes:
        x: images ``(N, C, H, W)``: uint8, resized to the model's size, or floating point, unchanged.
        names: file of each image, or its position if it came from no file.
        broken: reason for each file that cannot be read.
    """

    x: Tensor
    names: list[str]
    broken: dict[str, str]


def load_images(images: Images, size: int, *, skip_broken: bool = False) -> ImageSet:
    """Load images into memory in the form that a model takes.

    Args:
        images: images in one of the forms of ``Images``; the pictures of a folder are found at any depth.
        size: side to which pictures and uint8 arrays are resized, in pixels.
        skip_broken: whether to list files that cannot be read instead of raising an error at the first.

    Raises:
        BadInput: if they are no images, or there is none.
    """
    if isinstance(images, str | Path):
        folder = user_path(str(images))
        if not folder.is_dir():
            raise BadInput(f"{folder} is no folder: give a folder of pictures, or a list of paths")
        return _read_files(pictures_in(folder), size, skip_broken)
    if isinstance(images, Tensor | np.ndarray):
        x = _as_batch(images, size)
        return ImageSet(x, [str(i) for i in range(len(x))], {})
    if not isinstance(images, Sequence):
        raise BadInput(
            f"images are a {type(images).__name__}: give a tensor, an array, a list of pictures, or a folder"
        )
    if not len(images):
        raise BadInput("there is no image: give at least one")
    if all(isinstance(item, str | Path) for item in images):
        return _read_files([Path(item).expanduser() for item in images], size, skip_broken)
    pixels = [_picture(item, position, size) for position, item in enumerate(images)]
    return ImageSet(torch.from_numpy(np.stack(pixels)), [str(i) for i in range(len(pixels))], {})


def labelled_files(folder: str | Path) -> tuple[list[Path], list[str]]:
    """List the pictures of a folder of class folders, without copies, and the class name of each.

    Raises:
        BadInput: if there is no such folder, or a class has no picture.
    """
    root = user_path(str(folder))
    if not root.is_dir():
        raise BadInput(f"{root} is no folder: give one that holds a folder of pictures for each class")
    check_unsplit(root)
    files = [(path, name) for name in class_folders(root) for path in pictures_in(root / name)]
    found = [files[at] for at in distinct_files(files)]
    return [path for path, _ in found], [name for _, name in found]


def label_indices(
    labels: Any, count: int, classes: Sequence[str], num_classes: int
) -> tuple[Tensor, tuple[str, ...], Tensor]:
    """Convert labels to the model's class indices.

    Args:
        labels: class indices or class names, one per image.
        count: number of images.
        classes: class names in the order of the model's outputs; empty if they are not known. Labels that are names are
            then numbered in alphabetical order.
        num_classes: number of outputs of the model.

    Returns:
        Class indices ``(N,)``, int64; the class names in the order of the model's outputs; and the labels ``(N,)`` as a
        folder of class folders numbers them: in alphabetical order if they are names, otherwise the class indices.

    Raises:
        BadInput: if there is not one label for each image, or a label is no class of the model.
    """
    if labels is None:
        raise BadInput("there are no labels: give one for each image, or a folder with a folder for each class")
    given = _one_by_one(labels)
    if len(given) != count:
        raise BadInput(f"there are {count} images and {len(given)} labels: give one label for each image")
    missing = [i for i, label in enumerate(given) if label is None or (isinstance(label, float) and math.isnan(label))]
    if missing:
        raise BadInput(
            f"image {missing[0]} has no label ({len(missing)} have none): label all images, or leave them out"
        )
    if all(isinstance(label, str) for label in given):
        names = tuple(classes) or tuple(sorted(set(given)))
        if len(names) != num_classes:
            raise BadInput(
                f"the labels name {len(names)} classes and the model tells {num_classes} apart: give classes=, the "
                "names in the order of the model's outputs"
            )
        if not classes:
            check_order(names, "give classes=, the names in the order of its outputs")
        present = sorted(set(given))
        position = dict(zip(present, match_classes(present, names, may_lack=True), strict=True))
        own = torch.tensor([present.index(name) for name in given])
        return torch.tensor([position[name] for name in given]), names, own
    whole = [_is_whole(label) for label in given]
    if not all(whole):
        wrong = " ".join(repr(given[whole.index(False)]).split())
        raise BadInput(f"label {wrong[:60]} is neither a class index nor a class name: give all of one kind")
    outside = [label for label in given if not 0 <= label < num_classes]
    if outside:
        raise BadInput(
            f"label {outside[0]} is no class: the model numbers its {num_classes} classes 0 to {num_classes - 1}"
        )
    names = tuple(classes) or tuple(str(i) for i in range(num_classes))
    if len(names) != num_classes:
        raise BadInput(f"there are {len(names)} class names and the model tells {num_classes} classes apart")
    y = torch.tensor([int(label) for label in given])
    numbers = {str(int(label)) for label in y.unique()}
    if classes and numbers <= set(names) and any(names[int(index)] != index for index in numbers):
        index = next(index for index in sorted(numbers, key=int) if names[int(index)] != index)
        raise BadInput(
            f"label {index} may be the class at position {index}, which is {names[int(index)]!r}, or the class named "
            f"{index!r}: give the names, as text"
        )
    return y, names, y


def _one_by_one(labels: Any) -> list[Any]:
    """Return labels as a list, with scalars of other libraries as Python numbers and text.

    Raises:
        BadInput: if they are not one label for each image.
    """
    if isinstance(labels, Tensor | np.ndarray):
        labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels  # a column
        if labels.ndim != 1:
            rows = ", such as labels.argmax(1) of rows with a one" if labels.ndim == 2 else ""
            raise BadInput(f"labels have the shape {tuple(labels.shape)}: give one for each image, (N,){rows}")
        return labels.tolist()
    if isinstance(labels, str | bytes | Mapping | Set) or not isinstance(labels, Iterable):
        raise BadInput(f"labels are a {type(labels).__name__}: give a list, an array or a tensor, in the images' order")
    scalars = (np.generic, np.ndarray, Tensor)
    return [item.item() if isinstance(item, scalars) and not item.shape else item for item in labels]


def _is_whole(label: Any) -> bool:
    number = isinstance(label, int | float) and not isinstance(label, bool)
    return number and math.isfinite(label) and label == int(label)


def _read_files(paths: Sequence[Path], size: int, skip_broken: bool) -> ImageSet:
    pixels, names, broken = [], [], {}
    for path in with_bar(paths, len(paths), f"reading {len(paths)} pictures"):
        try:
            pixels.append(read_picture(path, size))
        except BadInput as error:
            if not skip_broken:
                raise
            broken[str(path)] = str(error).split(": replace")[0]
            continue
        names.append(str(path))
    if not pixels:
        first = broken[str(paths[0])]
        raise BadInput(f"none of {len(paths)} pictures can be read; the first: {first}: give others")
    return ImageSet(torch.from_numpy(np.stack(pixels)), names, broken)


def _as_batch(images: Tensor | np.ndarray, size: int) -> Tensor:
    """Return one array or tensor of images in the form that a model takes, uint8 ones resized.

    Raises:
        BadInput: if their shape, type or values are none that a model takes.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or not all(shape):
        raise BadInput(f"images have the shape {shape}: give (N, C, H, W), or (N, H, W, C) for an array")
    x = images
    if isinstance(x, np.ndarray):
        if shape[1] not in (1, 3) and shape[3] == 4 and x.dtype == np.uint8:  # transparency lies on white
            return torch.from_numpy(np.stack([_picture(image, i, size) for i, image in enumerate(x)]))
        if shape[1] not in (1, 3) and shape[3] in (1, 3):
            x = x.transpose(0, 3, 1, 2)
        if x.dtype.kind not in "uf" or (x.dtype.kind == "u" and x.dtype != np.uint8):
            raise BadInput(f"images are of type {x.dtype}: {_TYPES}")
        x = torch.from_numpy(np.require(x, np.float32 if x.dtype.kind == "f" else np.uint8, ["C", "W"]))
    if x.layout is not torch.strided or x.is_meta:
        raise BadInput(f"images are a {x.layout} tensor on {x.device}: give a dense one with its data, x.to_dense()")
    if x.shape[1] not in (1, 3):
        raise BadInput(f"images have {x.shape[1]} channels (shape {shape}): give 1 or 3")
    if x.dtype == torch.uint8:
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return torch.from_numpy(np.ascontiguousarray(resize(x.cpu().numpy(), size)))
    if not x.is_floating_point():
        raise BadInput(f"images are of type {x.dtype}: {_TYPES}")
    if not torch.isfinite(x).all():
        raise BadInput("images contain numbers that are not finite: leave those images out")
    if x.min() >= 0 and x.max() > 16:
        raise BadInput(
            f"images are floating-point numbers from {x.min():g} to {x.max():g}, which no normalised image holds: give "
            "uint8 pictures, or normalise them as the model takes them"
        )
    return x.detach().float()


def _picture(item: Any, position: int, size: int) -> np.ndarray:
    if isinstance(item, str | Path):
        return read_picture(Path(item).expanduser(), size)
    if isinstance(item, Tensor):
        item = item.detach().cpu().numpy()
    if isinstance(item, np.ndarray):
        if item.dtype != np.uint8 or item.ndim not in (2, 3):
            raise BadInput(f"image {position} is an array of {item.dtype}, shape {item.shape}: give uint8, (H, W, 3)")
        if item.ndim == 3 and item.shape[0] in (1, 3) and item.shape[2] not in (1, 3):
            item = item.transpose(1, 2, 0)
        if not item.size or (item.ndim == 3 and item.shape[2] not in (1, 3, 4)):
            raise BadInput(f"image {position} is an array of the shape {item.shape}: give (H, W, 3) or (H, W)")
        item = Image.fromarray(item.squeeze(-1) if item.ndim == 3 and item.shape[2] == 1 else item)
    if not isinstance(item, Image.Image):
        raise BadInput(f"image {position} is a {type(item).__name__}: give PIL pictures, paths or uint8 arrays")
    try:
        return square_pixels(item, size)
    except Exception as error:  # a file that PIL opened is decoded here, and decoders fail in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"image {position} cannot be read as a picture ({reason}): replace or remove it") from None
