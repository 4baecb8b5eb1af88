"""Pictures as no camera should make them: the large tool and a bundle read the same pixels, or say the same line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exported import write_bundle
from PIL import Image

import tbft
from tbft.cli import main
from tbft.data.images import load_images
from tbft.device.command import main as main_of_bundle
from tbft.device.memory import MemoryLimit
from tbft.device.pictures import read_unlabelled
from tbft.errors import BadInput

SIZE = 16
SHADES = np.random.default_rng(0)
RGB = Image.fromarray(SHADES.integers(0, 255, (20, 30, 3), np.uint8))


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter to the right
    return exif


def _palette(path: Path) -> None:
    RGB.convert("P").save(path, transparency=3)


READ: dict[str, Callable[[Path], None]] = {
    "16 bits.png": lambda path: Image.fromarray(SHADES.integers(0, 65535, (20, 30), np.uint16)).save(path),
    "8 bits of 32.tif": lambda path: Image.fromarray(SHADES.integers(0, 255, (20, 30), np.int32)).save(path),
    "palette.png": _palette,
    "grey and transparent.png": lambda path: RGB.convert("LA").save(path),
    "cmyk.jpg": lambda path: RGB.convert("CMYK").save(path),
    "turned.jpg": lambda path: RGB.save(path, exif=_turned()),
    "film.gif": lambda path: RGB.convert("P").save(path, save_all=True, append_images=[RGB.rotate(90).convert("P")]),
    "a pixel.png": lambda path: Image.new("RGB", (1, 1), (9, 8, 7)).save(path),
    "a line.png": lambda path: Image.new("RGB", (1, 3000), (9, 8, 7)).save(path),
    "two\nlines.png": RGB.save,
    "a photograph.jpg": lambda path: RGB.resize((900, 600)).save(path),
}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "huge.png": (lambda path: Image.new("1", (20_000, 20_000)).save(path), "more than 179 million pixels"),
    "heights.tif": (lambda path: RGB.convert("F").save(path), "floating-point pixels"),
    "nothing.png": (lambda path: path.touch(), "cannot be read as a picture"),
    "gone.png": (lambda path: path.symlink_to("nowhere.png"), "there is no such file"),
    "round.png": (lambda path: path.symlink_to("round.png"), "there is no such file"),
    "a folder.png": (lambda path: path.mkdir(), "holds no picture"),
    "two\nlines.jpg": (lambda path: path.touch(), r"two\\nlines.jpg cannot be read as a picture"),
}


@pytest.mark.parametrize("name", READ, ids=ascii)
def test_both_read_the_same_pixels(tmp_path: Path, name: str) -> None:
    READ[name](tmp_path / name)
    sample = read_unlabelled(tmp_path, SIZE, MemoryLimit())
    loaded = load_images(tmp_path, SIZE)
    assert sample.pixels.shape == (1, 3, SIZE, SIZE) and np.array_equal(sample.pixels, loaded.x.numpy())
    assert list(sample.names) == loaded.names


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_both_refuse_with_the_same_reason(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    make(tmp_path / name)
    said = []
    for read in (
        lambda: read_unlabelled(tmp_path, SIZE, MemoryLimit()).pixels,
        lambda: load_images(tmp_path, SIZE),
        lambda: load_images(tmp_path, SIZE, skip_broken=True),
    ):
        with pytest.raises(BadInput, match=words) as error:
            read()
        said.append(str(error.value))
        assert "\n" not in said[-1]
    reasons = [found[1] for text in said if (found := re.search(r"as a picture \((.*)\)", text))]
    assert len({*reasons}) <= 1


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> Callable[[Path], dict[str, int]]:
    """Every command that looks at a folder of pictures without labels; gives the exit code of each."""
    monkeypatch.chdir(tmp_path)
    own = ["--config", "data/digits.yaml", "--model.base", "digits", "--run.root", "runs"]

    def call(folder: Path) -> dict[str, int]:
        return {
            "predict": main(["predict", *own, "--images", str(folder)]),
            "diagnose": main(["diagnose", *own, "--images", str(folder)]),
            "bundle predict": main_of_bundle(["predict", str(folder)], bundle),
            "bundle diagnose": main_of_bundle(["diagnose", str(folder), "--unlabelled"], bundle),
        }

    return call


def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path: Path, commands, capsys) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    RGB.save(folder / "fine.png")
    RGB.save(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png"))
    (folder / "two\nlines.png").touch()
    codes = commands(folder)
    said = capsys.readouterr()
    assert set(codes.values()) == {0}
    assert r"\udcff\udcfe.png,8" in Path("runs/predictions.csv").read_text()
    assert r"two\nlines.png (cannot be read" in said.out + said.err
    assert r"\udcff\udcfe.png,8" in said.out


@pytest.mark.parametrize("content", ["nothing", "one picture", "a loop"])
def test_a_small_or_endless_folder_works_or_says_one_line(tmp_path: Path, commands, capsys, content: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    if content != "nothing":
        RGB.save(folder / "a.png")
    if content == "a loop":
        (folder / "inner").mkdir()
        (folder / "inner" / "back").symlink_to(folder)
        (folder / "round").symlink_to("round")
    codes = commands(folder)
    err = capsys.readouterr().err.splitlines()
    assert set(codes.values()) == ({2} if content == "nothing" else {0})
    assert len(err) == (4 if content == "nothing" else 0) and all("holds no picture" in line for line in err)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path, commands, capsys) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0)
    try:
        assert set(commands(folder).values()) == {2}
        with pytest.raises(BadInput, match="Permission denied"):
            tbft.personalize("digits", folder)
    finally:
        folder.chmod(0o700)
    assert all("Permission denied" in line for line in capsys.readouterr().err.splitlines())


def test_a_folder_that_may_not_be_listed_is_named_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BadInput, match=r"cannot be read \(Permission denied\)"):
        tbft.personalize("digits", tmp_path)


def test_one_class_alone_works_or_says_what_is_missing(tmp_path: Path, monkeypatch, bundle: Path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine" / "5"
    folder.mkdir(parents=True)
    for turn in (0, 90):
        RGB.rotate(turn).save(folder / f"{turn}.png")
    own = ["--config", "data/folder.yaml", "--data.root", "mine", "--model.base", "digits"]
    assert main(["diagnose", *own]) == 0
    assert main(["card", *own, "--data.domain", "source", "--to", "card.safetensors"]) == 2
    assert main_of_bundle(["adapt", "mine"], bundle) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "classes" in lines[0] and "more of the base model's classes are missing" in lines[1]


def test_levels_of_8_bits_stay_in_pictures_of_32() -> None:
    levels = SHADES.integers(0, 256, (SIZE, SIZE), np.uint8)
    (read,) = load_images([Image.fromarray(levels.astype(np.int32))], SIZE).x
    assert np.array_equal(read[0], levels)


def test_arrays_with_transparency_are_read_as_pictures_are() -> None:
    arrays = SHADES.integers(0, 256, (3, 20, 30, 4), np.uint8)
    expected = load_images([Image.fromarray(array) for array in arrays], SIZE).x
    assert np.array_equal(load_images(arrays, SIZE).x, expected)
