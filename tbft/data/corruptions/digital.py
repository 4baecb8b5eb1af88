"""Digital corruptions: JPEG compression, pixelation and elastic deformation."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tbft.data.corruptions.definition import Bytes, Corruption, to_bytes, to_unit
from tbft.data.corruptions.filters import gaussian
from tbft.data.corruptions.resampling import bilinear, fold_mirror, fold_reflect
from tbft.data.corruptions.streams import Streams


def to_picture(image: Bytes) -> Image.Image:
    """Convert one image of bytes, (C, H, W), to a Pillow image."""
    return Image.fromarray(image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def from_picture(picture: Image.Image) -> Bytes:
    """Convert a Pillow image, grey or RGB, to bytes, (C, H, W)."""
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def jpeg_compression(images: Bytes, quality: int, streams: Streams) -> Bytes:
    """Store as JPEG of the given quality and read it back, both by Pillow; nothing is random."""
    out = np.empty_like(images)
    for i, image in enumerate(images):
        file = io.BytesIO()
        to_picture(image).save(file, "JPEG", quality=quality)
        out[i] = from_picture(Image.open(file))
    return out


def pixelate(images: Bytes, share: float, streams: Streams) -> Bytes:
    """Shrink both sides to ``share`` and enlarge them again by Pillow's box filter; nothing is random."""
    height, width = images.shape[-2:]
    small = (max(1, int(width * share)), max(1, int(height * share)))
    out = np.empty_like(images)
    for i, image in enumerate(images):
        coarse = to_picture(image).resize(small, Image.Resampling.BOX)
        out[i] = from_picture(coarse.resize((width, height), Image.Resampling.BOX))
    return out


def elastic_transform(images: Bytes, stretch: tuple[float, float, float], streams: Streams) -> Bytes:
    """Deform each image by a random affine map, then by a smooth random ripple.

    The affine map sends three corners of a centred square to places up to ``jolt`` away along either axis.
    The ripple is uniform noise from -1 to 1, blurred by ``smoothness``, times ``amplitude``. All three are shares
    of the shorter side, which at 32 pixels gives the authors' numbers.

    Args:
        images: Images of bytes (N, C, H, W).
        stretch: Amplitude and smoothness of the ripple, and jolt.
        streams: One random stream per image.
    """
    size = images.shape[-2:]
    side = min(size)
    amplitude, smoothness, jolt = (side * share for share in stretch)
    x = to_unit(images, np.float32)

    center, reach = np.array([size[1] // 2, size[0] // 2]), max(1, side // 3)
    corners = center + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + streams.uniform(-jolt, jolt, (3, 2))
    # A pixel's value comes from where the inverse map leads: solve for the map from moved corners to corners.
    ones = np.ones((len(streams), 3, 1))
    inverse = np.linalg.solve(np.concatenate([moved, ones], axis=2), np.broadcast_to(corners, moved.shape))
    rows, columns = np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij")

    def mapped(axis: int) -> np.ndarray:
        along_x, along_y, origin = inverse[:, :, axis].T[:, :, None, None]
        return along_x * columns + along_y * rows + origin

    x = bilinear(x, mapped(1), mapped(0), fold_mirror)

    noise = streams.uniform(-1, 1, (2, *size))
    ripple = gaussian(noise, smoothness, mode="reflect", truncate=3) * amplitude
    return to_bytes(bilinear(x, rows + ripple[:, 1], columns + ripple[:, 0], fold_reflect))


# The ImageNet script takes 244 pixels for the side of its images, which is 224; the published files were made so.
_IMAGENET_SIDE = 244 / 224

DIGITAL = {
    "elastic_transform": Corruption(
        elastic_transform,
        cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        imagenet=tuple(
            tuple(_IMAGENET_SIDE * share for share in stretch)
            for stretch in (
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            )
        ),
    ),
    "pixelate": Corruption(pixelate, cifar=(0.95, 0.9, 0.85, 0.75, 0.65), imagenet=(0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": Corruption(jpeg_compression, cifar=(80, 65, 58, 50, 40), imagenet=(25, 18, 15, 10, 7)),
}
