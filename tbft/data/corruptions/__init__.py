"""Common corruptions of images: the 19 of CIFAR-10-C, made from any pictures.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (arXiv:1903.12261); definitions and constants are those of their scripts ``make_cifar_c.py``,
for 32 pixels, and ``make_imagenet_c.py``, for 224 (github.com/hendrycks/robustness). Where a result cannot be
theirs, the corruption's own docstring says so: frost is drawn, not photographed, and the random numbers are
others.

Constants in pixels are taken as they are: on images of 8 pixels a blur made for 32 is a strong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from tbft.data.corruptions.blur import BLUR
from tbft.data.corruptions.color import COLOR
from tbft.data.corruptions.definition import Bytes, Corruption
from tbft.data.corruptions.digital import DIGITAL
from tbft.data.corruptions.fog import FOG
from tbft.data.corruptions.frost import FROST
from tbft.data.corruptions.noise import NOISE
from tbft.data.corruptions.snow import SNOW
from tbft.data.corruptions.spatter import SPATTER
from tbft.data.corruptions.streams import Streams
from tbft.errors import BadInput
from tbft.progress import with_bar

if TYPE_CHECKING:
    import torch

BENCHMARK: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The benchmark's 15 corruptions, in its order: noise, blur, weather, digital."""

CORRUPTIONS: tuple[str, ...] = (*BENCHMARK, "speckle_noise", "gaussian_blur", "spatter", "saturate")
"""All 19: the benchmark's and the four extra ones."""

SEVERITIES = (1, 2, 3, 4, 5)

IMAGENET_SIDE = 96
"""Images whose shorter side has this many pixels or more get the constants made for ImageNet."""

Scale = Literal["auto", "cifar", "imagenet"]

_REGISTRY: dict[str, Corruption] = {**NOISE, **BLUR, **SNOW, **FROST, **FOG, **COLOR, **DIGITAL, **SPATTER}

# Values treated at once: many enough for numpy to be quick, few enough to stay in the processor's cache.
_VALUES_AT_ONCE = 2**19


def corrupt(
    images: torch.Tensor,
    name: str,
    severity: int = 5,
    *,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    scale: Scale = "auto",
    progress: bool = False,
) -> torch.Tensor:
    """Corrupt images as the benchmark does.

    What becomes of an image depends only on its pixels, the corruption, severity and scale, the seed, and the
    image's index: not on the batch it is in, nor on its place there, nor on the number of threads.

    Args:
        images: uint8, (N, C, H, W), C being 1 (grey) or 3 (red, green, blue); any H and W. Not changed.
        name: One of ``CORRUPTIONS``.
        severity: 1 (mild) to 5 (strong).
        seed: Any integer from 0.
        indices: A number from 0 for each image, by which it gets its own noise; its position by default.
        scale: Whose constants: ``cifar`` (made for 32 pixels), ``imagenet`` (for 224), or ``auto``:
            ImageNet's from a shorter side of 96 pixels on.
        progress: Show a bar on standard error, if that is a terminal and the whole takes over two seconds.

    Returns:
        New images of the same shape, on the same device.

    Raises:
        BadInput: A name, severity, scale, seed, index or tensor that does not fit the above.
    """
    numbers = range(len(images)) if indices is None else [int(index) for index in indices]
    _check(images, name, severity, seed, numbers, scale)
    import torch

    if scale == "auto":
        scale = "imagenet" if min(images.shape[-2:]) >= IMAGENET_SIDE else "cifar"
    corruption = _REGISTRY[name]
    constants = (corruption.cifar if scale == "cifar" else corruption.imagenet)[severity - 1]
    clean = images.cpu().numpy()
    result: Bytes = np.empty(clean.shape, np.uint8)
    chunk = max(1, _VALUES_AT_ONCE // max(1, clean[0:1].size))
    starts = range(0, len(clean), chunk)
    for start in with_bar(starts, len(starts), f"{name} {severity}") if progress else starts:
        part = slice(start, start + chunk)
        streams = Streams(seed, name, severity, numbers[part])
        result[part] = corruption.apply(np.ascontiguousarray(clean[part]), constants, streams)
    return torch.from_numpy(result).to(images.device)


def _check(images: torch.Tensor, name: str, severity: int, seed: int, indices: Sequence[int], scale: str) -> None:
    import torch

    if name not in _REGISTRY:
        raise BadInput(f"unknown corruption {name!r}: choose one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise BadInput(f"unknown severity {severity!r} of {name}: choose one of 1, 2, 3, 4, 5")
    if scale not in ("auto", "cifar", "imagenet"):
        raise BadInput(f"unknown scale {scale!r} of {name}: choose one of auto, cifar, imagenet")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise BadInput(
            f"cannot corrupt a tensor of {images.dtype} and shape {tuple(images.shape)}: "
            "give images as uint8 of shape (N, C, H, W), C being 1 or 3"
        )
    if len(indices) != len(images):
        raise BadInput(f"{len(indices)} indices for {len(images)} images: give one for each image")
    if seed < 0 or (len(indices) and min(indices) < 0):
        raise BadInput("seed and indices of corrupted images must not be negative: count from 0")
