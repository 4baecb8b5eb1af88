"""Read picture files as upright RGB pixels of the size that a network takes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from tbft.errors import BadInput
from tbft.paths import is_file, on_one_line

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Suffixes of picture files; other files in a class folder are not read."""

MOST_PIXELS = 2**28 // 3
"""Most pixels of a picture that are decoded: 256 MiB in RGB. A larger JPEG is decoded at a reduced size, down to an
eighth of its sides; Pillow opens no picture of more than twice as many pixels."""
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # would print to standard error

Pixels = NDArray[np.uint8]


def read_picture(path: Path, size: int) -> Pixels:
    """Read a picture file, and turn, convert, crop and resize the picture.

    The picture is turned as its EXIF orientation says. Grey and palette pictures become RGB, 16 bits become 8,
    transparency is laid on white, and an animation's first picture is used. The largest centred square is resized
    with an antialiased bicubic filter.

    Args:
        path: picture file.
        size: side of the result, in pixels.

    Returns:
        Pixels ``(3, size, size)``, uint8.

    Raises:
        BadInput: if the file is missing, truncated, no picture, or has too many pixels.
    """
    try:
        if not is_file(path):  # opening a pipe could wait for a writer for ever
            raise FileNotFoundError("there is no such file" if not path.exists() else "it is no regular file")
        with Image.open(path) as image:
            # Decodes a JPEG at an eighth to a half of its sides if at least twice the wanted side remains: a
            # photograph of 12 megapixels is then read six times as fast.
            image.draft(None, (2 * size, 2 * size))
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(
                    f"it has {image.width} x {image.height} pixels, more than {MOST_PIXELS / 1e6:.0f} million"
                )
            return square_pixels(image, size)
    except Exception as error:  # decoders fail in many ways: OSError, SyntaxError, struct.error, zlib.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.DecompressionBombError):  # raised by Image.open, before the size is known here
            reason = f"it has more than {2 * MOST_PIXELS / 1e6:.0f} million pixels"
        if str(path) in reason:  # Pillow's message only repeats the file's name
            reason = "its content is not that of a picture"
        raise BadInput(
            f"{on_one_line(path)} cannot be read as a picture ({reason}): replace or remove it, or leave broken "
            "pictures out with --data.skip_broken true"
        ) from None


def square_pixels(image: Image.Image, size: int) -> Pixels:
    """Return the pixels ``(3, size, size)``, uint8, of an opened picture, converted as in ``read_picture``.

    Raises:
        ValueError: if the picture has floating-point pixels, or no pixels.
    """
    return _planes(_square(_rgb(_upright(image)), size))


def resize(pixels: Pixels, size: int) -> Pixels:
    """Crop and resize pictures ``(N, 3, H, W)`` as in ``read_picture``, unless they have that size already."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    images = (Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))) for picture in pixels)
    return np.stack([_planes(_square(image, size)) for image in images])


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # turns a TIFF, and reads the metadata behind a PNG's pixels
    if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return image  # exif_transpose would copy it
    return ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("it has floating-point pixels, and which of them is white is not known")
    if image.mode.startswith("I"):  # 16 bits, whose values Pillow's own conversion would clip at 255
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        is_wide = image.mode != "I" or levels.max(initial=0) > 255  # 32 bits can hold 8 as well
        image = Image.fromarray((levels // (257 if is_wide else 1)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    if 0 in image.size:
        raise ValueError("it has no pixels")
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _planes(image: Image.Image) -> Pixels:
    return np.asarray(image).transpose(2, 0, 1)
