"""New pictures: a folder of any shape, unlabelled, of any format, some of them broken."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tbft
from tbft.data import Digits


@pytest.fixture
def pictures(tmp_path):
    """Ten digits in a nested folder, as files of several formats; two more files are no pictures."""
    data = Digits(image_size=16, label_map="flip", train_size=100)
    data.setup()
    names = []
    for i, suffix in enumerate(["png", "bmp", "tif", "webp", "ppm"] * 2):
        file = tmp_path / "new" / ("deep/down" if i % 2 else ".") / f"{i}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = data.test.x[i].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(file, lossless=True) if suffix == "webp" else Image.fromarray(pixels).save(file)
        names.append(str(file))
    (tmp_path / "new" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "new" / "notes.txt").write_text("no picture either")
    return tmp_path / "new", dict(zip(names, data.test.x[:10], strict=True))


def test_the_command_line_lists_class_and_confidence_of_each_picture(run, capsys, pictures):
    folder, files = pictures
    run("fit", "--config", "output.yaml", "--run.test", "false")
    capsys.readouterr()
    assert run("predict", "--config", "runs/run/config.yaml", "--images", str(folder))[0] == 0
    assert "10 predictions" in capsys.readouterr().out
    with Path("runs/run/predictions.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert set(rows) == {*files, str(folder / "broken.jpg")}
    assert "picture" in rows[str(folder / "broken.jpg")]["unreadable"]
    model = tbft.load("runs/run/model.safetensors")
    for prediction in model.predict(np.stack([x.numpy() for x in files.values()])):
        row = rows[list(files)[int(prediction.image)]]
        # the run computes in the cheapest number format, a model that is loaded in fp32
        assert row["class"] == prediction.name and abs(float(row["confidence"]) - prediction.confidence) < 0.03


def test_new_pictures_need_no_data_set(run, tmp_path, pictures):
    folder, _ = pictures
    run("fit", "--config", "output.yaml", "--run.test", "false")
    options = ["--config", "output.yaml", "--config", "data/folder.yaml", "--data.root", str(tmp_path / "gone")]
    assert run("predict", *options, "--model.base", "runs/run/model.safetensors", "--images", str(folder))[0] == 0
    assert Path("runs/predictions.csv").is_file()


@pytest.mark.parametrize("spoil", ["missing", "empty", "all broken"])
def test_a_folder_without_pictures_is_named(run, capsys, tmp_path, spoil):
    folder = tmp_path / "pictures"
    if spoil != "missing":
        folder.mkdir()
    if spoil == "all broken":
        (folder / "a.jpg").write_bytes(b"")
    code, _ = run("predict", "--config", "output.yaml", "--images", str(folder))
    assert code == 2 and str(folder) in capsys.readouterr().err
