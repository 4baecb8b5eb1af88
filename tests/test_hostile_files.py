"""Files that nobody should be given: each is refused in one line that says why, and none is waited for."""

import io
import json
import os
import pickle
import re
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tbft.data import Folder
from tbft.data.picture_file import read_picture
from tbft.errors import BadInput
from tbft.models import build, read_weights
from tbft.options.presets import find
from tbft.yaml_file import check_yaml_file

pytestmark = pytest.mark.timeout(60)  # what hangs fails, however busy the machine is


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # short names: a socket's path has little room


def refused(words, action, *arguments):
    """The action ends in one readable line with these words, which may be an expression."""
    with pytest.raises(BadInput) as error:
        action(*arguments)
    message = " ".join(str(error.value).split())  # as the command line prints it
    assert re.search(words, message), message
    assert len(message) < 600
    assert "weights_only" not in message and "Traceback" not in message


# Weights --------------------------------------------------------------------------------------------------------------


def tiny(**changed):
    """A network's weights, with some replaced, or left out where they are ``None``."""
    weights = build("resnet8", num_classes=4, image_size=8, width=4).state_dict()
    return {key: value for key, value in (weights | changed).items() if value is not None}


def with_value(key, value):
    weights = tiny()
    weights[key].view(-1)[0] = value
    return weights


def as_type(dtype):
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in tiny().items()}


class Code:
    def __reduce__(self):
        return (os.mkdir, ("it_ran",))


HEAD, STEM, NORM = "fc.weight", "conv1.weight", "layer1.0.bn1"

WEIGHTS = {
    "NaN weight": (lambda: with_value(HEAD, torch.nan), "fc.weight holds numbers that are not finite"),
    "infinite weight": (lambda: with_value(STEM, torch.inf), "conv1.weight holds numbers that are not finite"),
    "minus infinity": (lambda: with_value(STEM, -torch.inf), "conv1.weight holds numbers that are not finite"),
    "NaN bias": (lambda: with_value("fc.bias", torch.nan), "fc.bias holds numbers"),
    "NaN mean": (lambda: with_value(f"{NORM}.running_mean", torch.nan), "running_mean holds numbers"),
    "NaN variance": (lambda: with_value(f"{NORM}.running_var", torch.nan), "running_var holds numbers"),
    "negative variance": (lambda: with_value(f"{NORM}.running_var", -1.0), "running_var holds negative variances"),
    "half precision infinity": (lambda: tiny(**{HEAD: torch.full((4, 16), torch.inf).half()}), "not finite"),
    "too large for fp32": (
        lambda: tiny(**{HEAD: torch.full((4, 16), 1e300, dtype=torch.float64)}),
        "fc.weight.*not finite",
    ),
    "integer weights": (lambda: tiny(**{HEAD: torch.ones(4, 16, dtype=torch.int64)}), "made of int64 numbers"),
    "byte weights": (lambda: tiny(**{HEAD: torch.ones(4, 16, dtype=torch.uint8)}), "made of uint8 numbers"),
    "boolean weights": (lambda: tiny(**{"fc.bias": torch.ones(4, dtype=torch.bool)}), "fc.bias is made of bool"),
    "integer statistics": (
        lambda: tiny(**{f"{NORM}.running_mean": torch.zeros(4, dtype=torch.int32)}),
        "running_mean is made of int32 numbers",
    ),
    "complex weights": (lambda: tiny(**{HEAD: torch.ones(4, 16, dtype=torch.complex64)}), "fc.weight is complex"),
    "sparse weights": (lambda: tiny(**{HEAD: torch.ones(4, 16).to_sparse()}), "fc.weight is sparse"),
    "quantized weights": (
        lambda: tiny(**{HEAD: torch.quantize_per_tensor(torch.ones(4, 16), 0.1, 0, torch.qint8)}),
        "fc.weight is quantized|cannot be read as a checkpoint",
    ),
    "weights without memory": (
        lambda: tiny(**{HEAD: torch.zeros(1).expand(4, 10**12)}),
        "fc.weight has the shape .* and fewer numbers|no architecture",
    ),
    "weights on no device": (lambda: tiny(**{"fc.bias": torch.empty(4, device="meta")}), "fc.bias .* fewer numbers"),
    "empty tensor": (lambda: tiny(**{"fc.bias": torch.empty(0)}), "fc.bias is empty"),
    "no class": (lambda: tiny(**{HEAD: torch.empty(0, 16), "fc.bias": torch.empty(0)}), "tells 0 classes apart"),
    "one class": (lambda: tiny(**{HEAD: torch.ones(1, 16), "fc.bias": torch.ones(1)}), "tells 1 classes apart"),
    "no head": (lambda: tiny(**{HEAD: None}), "no architecture known here .*resnet18.*resnet26"),
    "no stem": (lambda: tiny(**{STEM: None}), "no architecture known here .*resnet18.*resnet26"),
    "head of one dimension": (lambda: tiny(**{HEAD: torch.ones(16)}), "no architecture known here"),
    "head of three dimensions": (lambda: tiny(**{HEAD: torch.ones(4, 16, 1)}), "no architecture known here"),
    "stem of no dimension": (lambda: tiny(**{STEM: torch.ones(())}), "no architecture known here"),
    "stem without channels": (lambda: tiny(**{STEM: torch.ones(0, 3, 3, 3)}), "no architecture known here"),
    "stages of other depths": (lambda: tiny(**{"layer1.1.bn1.weight": torch.ones(4)}), "no architecture known here"),
    "another network": (lambda: {"features.0.weight": torch.ones(3)}, "features.0.weight.*known are .*resnet26"),
    "no tensors": (lambda: {"epoch": 3}, "it holds no tensors"),
    "an empty dict": (dict, "it holds no tensors"),
    "a list": (lambda: [torch.ones(3)], "it holds no tensors"),
    "a tensor": (lambda: torch.ones(3), "it holds no tensors"),
    "a number": (lambda: 3, "it holds no tensors"),
    "a nested wrapper": (lambda: {"state_dict": {"model": {}}}, "it holds no tensors"),
    "code": (lambda: {"state_dict": Code()}, "could run code: save its state_dict"),
    "a whole module": (lambda: torch.nn.Linear(2, 2), "could run code: save its state_dict"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_no_network_can_have(case):
    make, words = WEIGHTS[case]
    torch.save(make(), "base.pt")
    refused(words, read_weights, "base.pt")
    assert not Path("it_ran").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32])
def test_floating_point_weights_of_every_precision_become_fp32(dtype):
    torch.save(as_type(dtype), "base.pt")
    weights = read_weights("base.pt").weights
    assert {value.dtype for key, value in weights.items() if "num_batches" not in key} == {torch.float32}


def whole_file():
    buffer = io.BytesIO()
    torch.save(tiny(), buffer)
    return buffer.getvalue()


BYTES = {
    "nothing.pt": (lambda: b"", "it is empty"),
    "nothing.safetensors": (lambda: b"", "it is empty"),
    "text.pt": (lambda: b"hello", "cannot be read as a checkpoint"),
    "text.safetensors": (lambda: b"hello", "cannot be read as a checkpoint"),
    "page.pt": (lambda: b"<!DOCTYPE html><html>Not found</html>", "cannot be read as a checkpoint"),
    "pickle.pt": (lambda: pickle.dumps({"state_dict": Code()}), "cannot be read as a checkpoint"),
    "deep.pt": (lambda: b"\x80\x02" + b"]" * 100_000 + b".", "cannot be read as a checkpoint"),
    "half.pt": (lambda: whole_file()[: len(whole_file()) // 2], "cannot be read as a checkpoint"),
    "tail.pt": (lambda: whole_file()[100:], "cannot be read as a checkpoint"),
    "zip.pt": (lambda: b"PK\x05\x06" + bytes(18), "cannot be read as a checkpoint"),
    "zeros.pt": (lambda: bytes(4096), "cannot be read as a checkpoint"),
    "ones.safetensors": (lambda: b"\xff" * 64, "cannot be read as a checkpoint"),
    "long.safetensors": (lambda: struct.pack("<Q", 2**62) + b"{}", "cannot be read as a checkpoint"),
    "list.safetensors": (lambda: struct.pack("<Q", 2) + b"[]", "cannot be read as a checkpoint"),
    "no_json.safetensors": (lambda: struct.pack("<Q", 8) + b"{{{{{{{{", "cannot be read as a checkpoint"),
    "offsets.safetensors": (
        lambda: (lambda head: struct.pack("<Q", len(head)) + head)(
            json.dumps({HEAD: {"dtype": "F32", "shape": [4, 16], "data_offsets": [0, 9]}}).encode()
        ),
        "cannot be read as a checkpoint",
    ),
    "none.safetensors": (lambda: struct.pack("<Q", 2) + b"{}", "it holds no tensors"),
}


@pytest.mark.parametrize("name", BYTES)
def test_files_that_are_no_weights(name):
    make, words = BYTES[name]
    Path(name).write_bytes(make())
    refused(words, read_weights, name)
    assert not Path("it_ran").exists()


METADATA = {
    "classes as numbers": ({"classes": "[1, 2, 3, 4]"}, "says classes: .* write names, as text"),
    "classes as lists": ({"classes": '[["a"], ["b"], ["c"], ["d"]]'}, "write names, as text"),
    "classes as nothing": ({"classes": "[null, null, null, null]"}, "write names, as text"),
    "classes without letters": ({"classes": '["", "b", "c", "d"]'}, "write names, as text"),
    "three classes of four": ({"classes": '["a", "b", "c"]'}, "names 3 classes .* tells 4 apart"),
    "five classes of four": ({"classes": '["a", "b", "c", "d", "e"]'}, "names 5 classes .* tells 4 apart"),
    "classes as an object": ({"classes": '{"a": 1}'}, "no JSON list"),
    "classes as one name": ({"classes": '"a"'}, "no JSON list"),
    "classes as text": ({"classes": "a, b, c, d"}, "no JSON list"),
    "endless classes": ({"classes": "[" * 100_000}, "no JSON list"),
    "mean of text": ({"mean": '["a"]'}, "says in its metadata that mean is"),
    "mean of truth": ({"mean": "[true]"}, "mean is .True."),
    "mean NaN": ({"mean": "[NaN]"}, "mean is .nan.: give one finite number"),
    "mean infinite": ({"mean": "[1e999]"}, "mean is .inf.: give one finite number"),
    "mean of two": ({"mean": "[0.5, 0.5]"}, "one for each of three channels"),
    "mean as a number": ({"mean": "0.5"}, "no JSON list"),
    "deviation zero": ({"std": "[0]"}, "std is .0.: give one finite number above 0"),
    "deviation negative": ({"std": "[0.2, 0.2, -0.2]"}, "std is .*above 0"),
    "deviation NaN": ({"std": "[NaN]"}, "std is .nan."),
    "deviation infinite": ({"std": "[Infinity]"}, "std is .inf."),
    "size zero": ({"image_size": "0"}, "image_size: '0'.*8 to 4096"),
    "size negative": ({"image_size": "-1"}, "image_size: '-1'"),
    "size huge": ({"image_size": "100000"}, "image_size: '100000'"),
    "size endless": ({"image_size": "9" * 5000}, "image_size: '999"),
    "size a fraction": ({"image_size": "32.5"}, "image_size: '32.5'"),
    "size of two": ({"image_size": "32x32"}, "image_size: '32x32'"),
    "answers in words": ({"probe": '["a", "b", "c", "d"]'}, "says probe: .*save the model again"),
    "answers NaN": ({"probe": "[NaN, 0, 0, 0]"}, "says probe"),
    "answers of three classes": ({"probe": "[1, 2, 3]"}, "says probe"),
    "size in words": ({"image_size": "large"}, "image_size: 'large'"),
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_describe_no_model(case):
    metadata, words = METADATA[case]
    save_file(tiny(), "base.safetensors", metadata)
    refused(words, read_weights, "base.safetensors")


# Pictures -------------------------------------------------------------------------------------------------------------


def encoded(kind, side=64):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def cut(kind):
    return lambda path: path.write_bytes(encoded(kind)[: len(encoded(kind)) // 2])


def png(width, height):
    """The beginning of a PNG that says it has this size."""

    def write(path):
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\10IDAT"
        )

    return write


def holding(content):
    return lambda path: path.write_bytes(content)


def socket_at(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


def loop_at(path):
    path.symlink_to("turn")
    Path("turn").symlink_to(path)


PICTURES = {
    "cut.jpg": (cut("JPEG"), "truncated"),
    "cut.png": (cut("PNG"), "cannot be read as a picture"),
    "cut.gif": (cut("GIF"), "truncated"),
    "cut.bmp": (cut("BMP"), "truncated|cannot be read as a picture"),
    "cut.tiff": (cut("TIFF"), "cannot be read as a picture"),
    "cut.webp": (cut("WEBP"), "cannot be read as a picture"),
    "cut.ppm": (cut("PPM"), "cannot be read as a picture"),
    "nothing.jpg": (holding(b""), "its content is not that of a picture"),
    "text.png": (holding(b"hello"), "its content is not that of a picture"),
    "page.jpg": (holding(b"<html>404</html>"), "its content is not that of a picture"),
    "zeros.bmp": (holding(bytes(5000)), "its content is not that of a picture"),
    "start.jpg": (holding(encoded("JPEG")[:20]), "cannot be read as a picture"),
    "start.gif": (holding(b"GIF89a"), "cannot be read as a picture"),
    "start.webp": (holding(b"RIFF\xff\xff\xff\xffWEBPVP8 "), "cannot be read as a picture"),
    "words.ppm": (holding(b"P3\n2 2\n255\nred green blue"), "cannot be read as a picture"),
    "no size.ppm": (holding(b"P6\n0 0\n255\n"), "cannot be read as a picture"),
    "no size.png": (png(0, 0), "cannot be read as a picture"),
    "bomb.png": (png(60_000, 60_000), "decompression bomb|pixels"),
    "large.png": (png(10_000, 10_000), r"10000 x 10000 pixels, more than 89 million"),
    "wide.png": (png(2**31 - 1, 1), "decompression bomb|pixels"),
    "bomb.ppm": (holding(b"P6\n99999 99999\n255\n"), "decompression bomb|pixels"),
    "folder.jpg": (Path.mkdir, "no regular file"),
    "pipe.jpg": (os.mkfifo, "no regular file"),
    "socket.jpg": (socket_at, "no regular file"),
    "device.jpg": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "dangling.jpg": (lambda path: path.symlink_to("gone"), "no such file"),
    "loop.jpg": (loop_at, "no such file|symbolic link"),
    "absent.jpg": (lambda path: None, "no such file"),
    "two\nlines.jpg": (holding(b""), "lines.jpg cannot be read as a picture"),
    os.fsdecode(b"latin-\xe9.jpg"): (holding(b""), "cannot be read as a picture"),
    "floating.tiff": (
        lambda path: Image.fromarray(np.zeros((8, 8), np.float32)).save(path),
        "floating-point pixels",
    ),
}


@pytest.mark.parametrize("name", PICTURES, ids=[ascii(name) for name in PICTURES])
def test_pictures_that_cannot_be_read(name):
    make, words = PICTURES[name]
    make(Path(name))
    refused(words, read_picture, Path(name), 8)


def test_odd_names_and_a_single_pixel_are_pictures_all_the_same():
    for name in ("two\nlines.png", os.fsdecode(b"latin-\xe9.png"), "-.png", "'\"; rm *.png"):
        Image.new("RGB", (1, 1), "red").save(name, "PNG")
        assert read_picture(Path(name), 8).shape == (3, 8, 8)


# Folders --------------------------------------------------------------------------------------------------------------


def folder(**pictures):
    """Class folders with so many pictures each."""
    for blue, (name, count) in enumerate(pictures.items()):
        Path("mine", name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (40 * i % 256, i // 7, blue)).save(f"mine/{name}/{i}.png")


def with_pipe():
    folder(ant=9, bee=9)
    os.mkfifo("mine/ant/pipe.png")


def with_loop():
    folder(ant=9, bee=9)
    loop_at(Path("mine/ant/loop.png"))


def with_bomb():
    folder(ant=9, bee=9)
    png(60_000, 60_000)(Path("mine/bee/bomb.png"))


FOLDERS = {
    "a pipe among pictures": (with_pipe, {}, "pipe.png cannot be read"),
    "a loop of links": (with_loop, {}, "loop.png cannot be read"),
    "a bomb among pictures": (with_bomb, {}, "bomb.png cannot be read"),
    "case alone": (lambda: folder(cat=9, Cat=9), {}, "'Cat' and 'cat', which differ in case"),
    "a hyphen alone": (lambda: folder(**{"fire-truck": 9, "fire truck": 9}), {}, "'fire truck' and 'fire-truck'"),
    "an underscore alone": (lambda: folder(**{"a_b": 9, "ab": 9}), {}, "'a_b' and 'ab'"),
    "the same in the base": (lambda: folder(a=9, b=9), {"base_classes": ("a", "b", "B")}, "base model has .*'b'"),
    "a class without pictures": (lambda: folder(a=9, b=0), {}, "b holds no picture"),
    "a class of one picture": (lambda: folder(a=9, b=1), {}, "class 'b' has one target image"),
    "no classes": (lambda: Path("mine").mkdir(), {}, "no class folders"),
    "a file as root": (lambda: Path("mine").write_text("x"), {}, "mine is no folder"),
    "a pipe as root": (lambda: os.mkfifo("mine"), {}, "mine is no folder"),
    "no root": (lambda: None, {}, "mine is no folder"),
    "names of other classes": (lambda: folder(a=9, b=9), {"class_names": ["a", "c"]}, "class_names .* differ"),
    "a name twice": (lambda: folder(a=9, b=9), {"class_names": ["a", "a"]}, "class_names .* differ"),
    "a class too many": (lambda: folder(a=9, b=9, c=9), {"base_classes": ("a", "b")}, "does not know 'c'"),
    "a class too few": (lambda: folder(a=9, b=9), {"base_classes": ("a", "b", "c")}, "'c' of the base model's"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_that_are_no_data(case):
    make, options, words = FOLDERS[case]
    make()
    refused(words, lambda: Folder("mine", image_size=8, **options).setup())


@pytest.mark.parametrize("root", ["", "~nobody/x", "a" * 300, "nul\0byte", "/dev/null", "mine\nyours"])
def test_roots_that_no_file_system_has(root):
    refused("is no folder" if root else "a path is empty", lambda: Folder(root, image_size=8).setup())


# Configurations -------------------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

YAMLS = {
    "alias bomb": (BOMB.encode(), "stands for more than 100000 values in line 6"),
    "alias of itself": (b"a: &a [*a]", "alias \\*a that contains itself"),
    "merged bomb": (b"a: &a {b: [x, x]}\n" + BOMB.replace("a: &a", "c0: &a").encode(), "more than 100000"),
    "unknown alias": (b"model: *nowhere", "alias \\*nowhere that stands for nothing"),
    "key twice": (b"model: {base: a}\nmodel: {base: b}", "gives model a second time in line 2"),
    "inner key twice": (b"model:\n  base: a\n  width: 8\n  base: b\n", "gives base a second time in line 4"),
    "key twice in a list": (b"a: [{b: 1, b: 2}]", "gives b a second time in line 1"),
    "deep lists": (b"[" * 5000, "nest"),
    "deep mappings": (b"{a: " * 60, "nested deeper than 50 levels in line 1"),
    "many values": (b"a: [" + b"1, " * 120_000 + b"1]", "stands for more than 100000 values"),
    "a large file": (b"a: 1 # " + b"x" * 2**20, "larger than 1 MiB"),
    "bytes": (bytes(range(256)), "is not text in UTF-8"),
    "zero bytes": (bytes(100), "cannot be read as YAML"),
    "control characters": (b"a: \x01\x02", "cannot be read as YAML"),
    "wide characters": ("model: {base: a}".encode("utf-16"), "is not text in UTF-8"),
    "Latin letters": ("name: Käse".encode("latin-1"), "is not text in UTF-8"),
    "an open bracket": (b"a: [1, 2", "cannot be read as YAML .* in line"),
    "a tab": (b"a:\n\tb: 1", "cannot be read as YAML .* in line 2"),
    "a picture": (encoded("PNG", 8), "is not text in UTF-8"),
    "two colons": (b"a: b: c", "cannot be read as YAML"),
}


@pytest.mark.parametrize("case", YAMLS)
def test_configurations_that_are_none(case):
    content, words = YAMLS[case]
    Path("own.yaml").write_bytes(content)
    refused(words, check_yaml_file, Path("own.yaml"))


def test_aliases_and_equal_keys_in_two_places_are_fine():
    text = "base: &b {lr: 1, x: [1, 2]}\nmodel: {a: *b, b: *b}\ndata: {a: 1}\nlist: [{a: 1}, {a: 2}]\n"
    Path("own.yaml").write_text(text)
    check_yaml_file(Path("own.yaml"))


@pytest.mark.parametrize("look_up", [find, read_weights])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", ".", "~nobody/x", "a" * 300, "nul\0byte", "loop", "socket"])
def test_what_is_no_regular_file_is_not_opened(look_up, name):
    os.mkfifo("pipe")
    loop_at(Path("loop"))
    socket_at("socket")
    with pytest.raises(BadInput, match=r"no configuration|no base model"):
        look_up(name)
