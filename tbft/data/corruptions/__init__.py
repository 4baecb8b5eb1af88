"""Input-level drift: the 19 common corruptions of CIFAR-10-C, applied to any pictures.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (arXiv:1903.12261); definitions and constants are those of their scripts ``make_cifar_c.py``,
for 32 pixels, and ``make_imagenet_c.py``, for 224 (github.com/hendrycks/robustness). The results differ from theirs
in the random numbers, and in what a corruption's own docstring says: frost is drawn, not photographed.

Constants in pixels are not scaled to the size of the images: on images of 8 pixels a blur made for 32 is a strong one.
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
"""All 19 corruptions: the benchmark's 15 and its four extra ones."""

SEVERITIES = (1, 2, 3, 4, 5)

IMAGENET_SIDE = 96
"""Shorter side in pixels from which on images get the constants made for ImageNet, if the scale is ``auto``."""

Scale = Literal["auto", "cifar", "imagenet"]

_REGISTRY: dict[str, Corruption] = {**NOISE, **BLUR, **SNOW, **FROST, **FOG, **COLOR, **DIGITAL, **SPATTER}

# Values computed at once: enough for numpy to be fast, few enough to stay in the processor's cache.
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

    A corrupted image depends only on its pixels, the corruption, severity, scale, seed, and the image's index. It
    does not depend on its batch, its place in the batch, or the number of threads.

    Args:
        images: Images (N, C, H, W), uint8, with C = 1 (grey) or 3 (red, green, blue). They are not changed.
        name: One of ``CORRUPTIONS``.
        severity: Severity from 1 (mild) to 5 (strong).
        seed: Any integer from 0.
        indices: Index from 0 of each image, which selects its random numbers; by default its position.
        scale: Set of constants: ``cifar`` (made for 32 pixels), ``imagenet`` (made for 224), or ``auto``, which takes
            ImageNet's from a shorter side of 96 pixels on.
        progress: Whether to show a bar on standard error, if that is a terminal and the whole takes over two seconds.

    Returns:
        New images of the same shape, on the same device.

    Raises:
        BadInput: If the images, name, severity, seed, indices or scale are not as described above.
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
