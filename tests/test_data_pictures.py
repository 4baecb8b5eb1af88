"""Every kind of picture comes out upright, in RGB and of the wanted size."""

import numpy as np
import pytest
from PIL import Image

from tbft.data.picture_file import read_picture, resize
from tbft.errors import BadInput


@pytest.fixture
def save(tmp_path):
    def write(image, name, **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def halves(mode="RGB", left=(200, 40, 40), right=(40, 40, 200), size=(40, 40)):
    """Left red, right blue."""
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def near(pixels, colour, tolerance=6):
    return np.abs(pixels.reshape(3, -1).astype(int).T - colour).max() <= tolerance


def test_a_plain_picture_keeps_its_pixels(save):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(read_picture(save(Image.fromarray(noise), "a.png"), 32), noise.transpose(2, 0, 1))


def test_grey_becomes_rgb(save):
    assert near(read_picture(save(Image.new("L", (10, 10), 77), "a.jpg"), 8), 77)
    assert near(read_picture(save(Image.new("1", (10, 10), 1), "b.png"), 8), 255)
    assert near(read_picture(save(Image.new("LA", (10, 10), (77, 255)), "c.png"), 8), 77)


def test_sixteen_bits_become_eight(save):
    grey = Image.fromarray(np.full((10, 10), 128 * 257, np.uint16))
    assert near(read_picture(save(grey, "a.png"), 8), 128, 1)
    assert near(read_picture(save(grey, "a.tif"), 8), 128, 1)


def test_a_palette_becomes_its_colours(save):
    pixels = read_picture(save(halves().quantize(2), "a.gif"), 40)
    assert near(pixels[:, :, :18], (200, 40, 40)) and near(pixels[:, :, 22:], (40, 40, 200))


def test_what_is_transparent_lies_on_white(save):
    image = halves("RGBA", (200, 40, 40, 255), (0, 0, 0, 0))
    pixels = read_picture(save(image, "a.png"), 40)
    assert near(pixels[:, :, :18], (200, 40, 40)) and near(pixels[:, :, 22:], 255)
    palette = halves().quantize(2)
    first = palette.getpixel((0, 0))
    pixels = read_picture(save(palette, "b.png", transparency=first), 40)
    assert near(pixels[:, :, :18], 255) and near(pixels[:, :, 22:], (40, 40, 200))


def test_cmyk_becomes_rgb(save):
    assert near(
        read_picture(save(Image.new("RGB", (16, 16), (10, 200, 30)).convert("CMYK"), "a.jpg"), 8), (10, 200, 30)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_gives_an_upright_picture(save, orientation):
    """The picture is stored as a camera would that is held so; every orientation must give the same again."""
    how = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = halves()
    stored = upright.transpose(how[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_picture(save(stored, "a.png", exif=exif), 40)
    assert np.array_equal(pixels, np.asarray(upright).transpose(2, 0, 1))


def test_a_png_may_say_behind_its_pixels_how_it_was_turned(save):
    exif = Image.Exif()
    exif[0x0112] = 3
    file = save(halves(), "a.png", exif=exif)
    content, chunks, at = file.read_bytes(), {}, 8
    while at < len(content):  # length, name, data and checksum of each chunk
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        chunks[content[at + 4 : at + 8]], at = content[at:end], end
    chunks[b"eXIf"], chunks[b"IEND"] = chunks.pop(b"eXIf"), chunks.pop(b"IEND")
    assert [*chunks][-3:] == [b"IDAT", b"eXIf", b"IEND"]
    file.write_bytes(content[:8] + b"".join(chunks.values()))
    turned = halves().transpose(Image.Transpose.ROTATE_180)
    assert np.array_equal(read_picture(file, 40), np.asarray(turned).transpose(2, 0, 1))


def test_the_centre_is_cut_out_and_resized(save):
    wide = Image.new("RGB", (120, 40), "white")
    wide.paste(halves(), (40, 0))
    pixels = read_picture(save(wide, "a.png"), 20)
    reference = wide.resize((60, 20), Image.Resampling.BICUBIC).crop((20, 0, 40, 20))
    assert np.abs(pixels.astype(int) - np.asarray(reference).transpose(2, 0, 1)).max() <= 1


def test_resizing_does_not_alias(save):
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert near(read_picture(save(Image.fromarray(stripes), "a.png"), 32), 128)


def test_a_large_jpeg_is_read_as_a_small_one_would(save):
    rng = np.random.default_rng(1)
    large = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize((1200, 1200), Image.Resampling.BICUBIC)
    reference = np.asarray(large.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    pixels = read_picture(save(large, "a.jpg", quality=95), 32)
    assert np.abs(pixels.astype(int) - reference).mean() < 3


def test_arrays_are_resized_as_files_are(save):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pixels = noise.transpose(2, 0, 1)[None]
    assert resize(pixels, 32) is pixels
    assert np.array_equal(resize(pixels, 20)[0], read_picture(save(Image.fromarray(noise), "a.png"), 20))


def test_broken_files_are_named_with_the_remedy(save, tmp_path):
    whole = save(halves(size=(200, 200)), "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture at all")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(save(halves(size=(200, 200)), "whole.png").read_bytes()[:90])
    save(Image.fromarray(np.ones((4, 4), np.float32)), "float.tif")
    for name in ("cut.jpg", "text.jpg", "empty.png", "cut.png", "float.tif", "missing.jpg"):
        with pytest.raises(BadInput) as error:
            read_picture(tmp_path / name, 8)
        message = str(error.value)
        assert message.count(str(tmp_path / name)) == 1 and "\n" not in message
        assert "skip_broken" in message
