"""Every data set through ``fit``, with pictures that the tests make."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save_file

from tbft.data.breeds import read_table
from tbft.data.cifar10 import CLASSES
from tbft.models import build, save_weights

pytestmark = pytest.mark.numbers

RNG = np.random.default_rng(0)
SHORT = ("--trainer.max_epochs", "1", "--energy.codecarbon", "false", "--data.batch_size", "16")


def base(path, classes, size=32, depth=8):
    torch.manual_seed(0)
    save_weights(build(f"resnet{depth}", num_classes=len(classes), image_size=size), Path(path), tuple(classes))
    return str(path)


def stripes(label, size=32):
    """A picture whose stripes tell its class."""
    pixels = RNG.integers(0, 60, (size, size, 3), np.uint8)
    pixels[:, label * 3 : label * 3 + 3] += 180
    return pixels


@pytest.fixture
def cifar(tmp_path):
    """A small CIFAR-10 in binary files, and fog of CIFAR-10-C in the authors' format."""
    folder, labels = tmp_path / "cifar", np.arange(200) % 10
    folder.mkdir()
    images = np.stack([stripes(label) for label in labels])
    records = np.concatenate([labels[:, None].astype(np.uint8), images.transpose(0, 3, 1, 2).reshape(200, -1)], 1)
    records.tofile(folder / "test_batch.bin")
    for number, part in enumerate(np.array_split(records, 5), 1):
        part.tofile(folder / f"data_batch_{number}.bin")
    np.save(folder / "fog.npy", np.tile(images, (5, 1, 1, 1)))
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    return str(folder)


def test_official_cifar10c_files(run, cifar):
    code, record = run(
        *("fit", "--config", "input.yaml", "--config", "data/cifar10c.yaml", "--data.root", cifar),
        *("--model.base", base("b.safetensors", CLASSES), "--data.corruption", "fog", "--data.train_size", "60"),
        *("--data.check_md5", "false", *SHORT),
    )
    assert code == 0
    assert record["dataset"] == "cifar10c" and record["blocks"] == ["block1"]
    assert record["drift"] == {"level": "input", "name": "fog", "severity": 5, "levels": ["input"]}


@pytest.mark.parametrize(
    ("preset", "level", "block"), [("cifar10c", "input", "block1"), ("cifar_flip", "output", "fc")]
)
def test_the_papers_protocol_on_cifar(run, cifar, preset, level, block):
    options = ("--data.root", cifar, "--model.base", base("b.safetensors", CLASSES), *SHORT)
    code, record = run("fit", "--config", f"paper/{preset}.yaml", "--data.train_size", "40", *options)
    assert code == 0
    assert record["drift"]["level"] == level and record["blocks"] == [block]
    assert record["statistics"] == "batch" and record["train_size"] == 40


def test_a_base_model_of_cifar_feeds_its_personalization(run, cifar):
    small = ("--model.architecture", "resnet8", "--data.validation", "0.1")
    code, record = run("fit", "--config", "base/cifar10.yaml", "--data.root", cifar, *small, *SHORT, name="base")
    assert code == 0 and record["strategy"] == "base"
    code, record = run(
        *("fit", "--config", "output.yaml", "--config", "data/cifar10.yaml", "--data.root", cifar),
        *("--model.base", "runs/base/model.safetensors", "--data.train_size", "60", *SHORT),
    )
    assert code == 0 and record["accuracy"]["base"] is not None


@pytest.mark.parametrize("network", ["regnetx", "mobilenetv3"])
def test_a_small_mobile_base_model_of_cifar_has_four_blocks(run, cifar, network):
    pytest.importorskip("timm")
    small = ("--model.image_size", "32", "--data.validation", "0.1")
    preset = f"base/cifar10_{network}.yaml"
    code, _ = run("fit", "--config", preset, "--data.root", cifar, *small, *SHORT, name="base")
    assert code == 0
    code, record = run(
        *("fit", "--config", "input.yaml", "--config", "data/cifar10.yaml", "--config", "strategy/block4.yaml"),
        *("--data.root", cifar, "--data.corruption", "contrast", "--model.base", "runs/base/model.safetensors"),
        *("--data.train_size", "60", *SHORT),
    )
    assert code == 0 and record["strategy"] == "block4" and record["blocks"] == ["block4"]


def tree(root, table, count=6, size=40):
    for part in ("train", "val"):
        for label, of in enumerate(table.values()):
            for wnid in of["source"] + of["target"]:
                folder = root / part / wnid
                folder.mkdir(parents=True)
                for i in range(count if part == "train" else 2):
                    pixels = np.asarray(Image.fromarray(stripes(label % 10)).resize((size, size + 8)))
                    Image.fromarray(pixels).save(folder / f"{wnid}_{i}.JPEG")
    return str(root)


@pytest.mark.parametrize(
    ("preset", "small", "block"),
    [
        ("tiny_breeds", ("--model.architecture", "resnet8"), "block3"),
        ("tiny_breeds_regnetx", ("--model.image_size", "32"), "block4"),
        ("tiny_breeds_mobilenetv3", ("--model.image_size", "32"), "block4"),
    ],
)
def test_a_small_imagenet_tree(run, tmp_path, preset, small, block):
    pytest.importorskip("timm")
    root = tree(tmp_path / "tree", read_table("tiny_breeds"))
    code, _ = run("fit", "--config", f"base/{preset}.yaml", "--data.root", root, *small, *SHORT, name="base")
    assert code == 0
    weights = ("--model.base", "runs/base/model.safetensors")
    code, record = run(
        *("fit", "--config", "feature.yaml", "--config", "data/tiny_breeds.yaml", "--data.root", root, *weights),
        *("--data.train_size", "60", *SHORT),
    )
    assert code == 0
    assert record["dataset"] == "tiny_breeds" and record["drift"]["level"] == "feature"
    assert record["blocks"] == [block]


def test_living17_with_the_authors_checkpoint_layout(run, tmp_path):
    """Keys and shapes of the authors' Living-17 model: 128 px, head 17 x 1024, behind a data-parallel prefix."""
    root = tree(tmp_path / "tree", read_table("living17"), count=4)
    chain = build("resnet26", num_classes=17, image_size=128)
    assert chain.state_dict()["fc.weight"].shape == (17, 1024)
    torch.save({f"module.{key}": value for key, value in chain.state_dict().items()}, "living17.pt")
    code, record = run(
        *("fit", "--config", "paper/living17.yaml", "--data.root", root, "--model.base", "living17.pt"),
        *("--data.train_size", "17", "--run.test", "false", *SHORT),
    )
    assert code == 0 and record["dataset"] == "living17" and record["blocks"] == ["block3"]


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_safetensors_and_prefixes_feed_a_run(run, cifar, prefix):
    chain = build("resnet8", num_classes=10, image_size=32)
    save_file({prefix + key: value for key, value in chain.state_dict().items()}, "b.safetensors")
    code, _ = run(
        *("fit", "--config", "output.yaml", "--config", "data/cifar10.yaml", "--data.root", cifar),
        *("--model.base", "b.safetensors", "--data.train_size", "60", *SHORT),
    )
    assert code == 0


def odd_pictures(root):
    """Grey, palette, transparent, turned, 16-bit and large pictures of three classes."""
    kinds = ("grey.png", "palette.gif", "alpha.png", "turned.jpg", "deep.tif", "large.jpg", "wide.bmp", "plain.webp")
    for label, name in enumerate(("disc", "box", "bar")):
        (root / name).mkdir(parents=True)
        for kind in kinds:
            for i in range(3):
                image = Image.new("RGB", (600, 600) if kind == "large.jpg" else (48, 36), (30 * i, 60, 90))
                draw, (w, h) = ImageDraw.Draw(image), image.size
                shape = (draw.ellipse, draw.rectangle, draw.rectangle)[label]
                shape((w // 4, h // 4, w // 2 if label == 2 else 3 * w // 4, 3 * h // 4), fill=(240, 200, 100))
                options = {}
                if kind == "grey.png":
                    image = image.convert("L")
                elif kind == "palette.gif":
                    image = image.quantize(16)
                elif kind == "alpha.png":
                    image.putalpha(200)
                elif kind == "deep.tif":
                    image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
                elif kind == "turned.jpg":
                    options["exif"] = Image.Exif()
                    options["exif"][0x0112] = 6
                image.save(root / name / f"{i}-{kind}", **options)
    return root


FOLDER = ("--config", "feature.yaml", "--config", "data/folder.yaml")


def test_a_folder_of_odd_pictures(run, tmp_path):
    root = odd_pictures(tmp_path / "mine" / "target").parent
    weights = base("b.safetensors", ("bar", "disc", "box"))
    code, record = run("fit", *FOLDER, "--data.root", str(root), "--model.base", weights, *SHORT)
    assert code == 0 and record["dataset"] == "mine" and record["skipped_pictures"] == 0
    with safe_open("runs/run/model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["classes"]) == ["bar", "disc", "box"]
    assert run("predict", "--config", "runs/run/config.yaml", "--trainer.enable_progress_bar", "false")[0] == 0


def truncated(root):
    path = root / "box" / "0-large.jpg"
    path.write_bytes(path.read_bytes()[:900])
    return [], "0-large.jpg"


def text(root):
    (root / "box" / "text.jpg").write_text("no picture")
    return [], "text.jpg"


def empty(root):
    (root / "cat").mkdir()
    return [], "cat holds no picture"


def single(root):
    (root / "cat").mkdir()
    Image.new("L", (9, 9)).save(root / "cat" / "one.png")
    return [], "one.png"


def unknown_class(root):
    (root / "disc").rename(root / "disk")
    return [], "rename disk to disc"


def image_size(root):
    return ["--model.image_size", "64"], "32 px"


def odd_image_size(root):
    return ["--model.image_size", "30"], "30 px"


@pytest.mark.parametrize("spoil", [truncated, text, empty, single, unknown_class, image_size, odd_image_size])
def test_bad_input_is_said_in_one_line(run, tmp_path, capsys, spoil):
    root = odd_pictures(tmp_path / "mine")
    options, words = spoil(root)
    weights = base("b.safetensors", ("bar", "disc", "box"))
    code, record = run("fit", *FOLDER, "--data.root", str(root), "--model.base", weights, *SHORT, *options)
    err = capsys.readouterr().err
    assert code == 2 and not record
    assert words in err and len(err.strip().splitlines()) == 1


def test_ones_own_pictures_are_not_drifted_any_further(run, tmp_path):
    root, weights = odd_pictures(tmp_path / "mine"), base("b.safetensors", ("bar", "disc", "box"))
    for level in ("input", "feature", "output"):
        options = ("--config", f"{level}.yaml", "--config", "data/folder.yaml", "--data.root", str(root))
        code, record = run("fit", *options, "--model.base", weights, *SHORT, name=level)
        assert code == 0 and record["drift"] == {"level": level, "name": "unknown", "severity": None}


def test_a_broken_picture_that_a_worker_meets_is_said_in_one_line(run, tmp_path, capsys):
    root = odd_pictures(tmp_path / "mine")
    truncated(root)
    options = ("--data.memory_limit", "0.001", "--data.workers", "1", "--trainer.max_epochs", "1")
    code, _ = run(
        "fit",
        *FOLDER,
        "--data.root",
        str(root),
        "--model.base",
        base("b.safetensors", ("bar", "disc", "box")),
        *options,
    )
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and last.startswith("tbft: ") and "0-large.jpg" in last


def test_broken_pictures_are_skipped_on_request_and_counted(run, tmp_path):
    root = odd_pictures(tmp_path / "mine")
    truncated(root)
    text(root)
    weights = base("b.safetensors", ("bar", "disc", "box"))
    options = ("--data.root", str(root), "--model.base", weights, "--data.skip_broken", "true")
    code, record = run("fit", *FOLDER, *options, *SHORT)
    assert code == 0 and record["skipped_pictures"] == 2


def test_a_missing_root_is_asked_for(run, capsys):
    assert run("fit", *FOLDER, "--model.base", base("b.safetensors", ("bar", "disc", "box")))[0] == 2
    assert "root" in capsys.readouterr().err


def test_presets_say_the_papers_protocol():
    """Batch statistics, SGD or Adam at 1e-3 and 1e-2 for the head, 128 images, ten epochs, patience of five."""
    from tbft.options.presets import folder

    for name in ("cifar10c", "cifar_flip", "living17"):
        preset = yaml.safe_load((folder() / "paper" / f"{name}.yaml").read_text())
        rate = preset["model"]["optimizer"]["init_args"]
        assert rate["lr"] == 1e-3 and preset["model"]["learning_rates"] == {"fc": 1e-2}
        assert preset["model"]["schedule"] == "constant" and preset["freeze"]["statistics"] == "batch"
        assert preset["data"]["init_args"]["split"] == "paper" and preset["data"]["init_args"]["batch_size"] == 128
        assert preset["trainer"]["max_epochs"] == 10
        if name != "living17":
            assert (rate["momentum"], rate["weight_decay"]) == (0.9, 5e-4)
            assert preset["trainer"]["callbacks"][0]["init_args"] == {"monitor": "val/loss", "patience": 5}
