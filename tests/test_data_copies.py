"""A picture that is there twice counts once: its copy would validate what was trained on it."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import tbft
from tbft.data import Digits, Folder
from tbft.data.images import labelled_files


@pytest.fixture(scope="module")
def digits():
    data = Digits(image_size=16, train_size=100)
    data.setup()
    return torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])


@pytest.mark.parametrize("times", [2, 5])
def test_copies_of_pictures_with_labels_at_random_do_not_speak_for_what_learnt_them_by_heart(digits, caplog, times):
    x, _ = digits
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 10, len(x)))
    better = tbft.personalize("digits", x.repeat(times, 1, 1, 1), labels.repeat(times))
    assert better.kept == "base" and better.record.train_size == len(x)
    copies = len(x) * (times - 1)
    assert f"{copies} of {len(x) * times} labelled pictures are copies of others: the first" in caplog.text


def test_copies_without_labels_are_no_further_evidence(digits, caplog):
    dark = torch.zeros(100, 3, 16, 16, dtype=torch.uint8)
    better = tbft.personalize("digits", dark)
    assert better.kept == "base" and better.record.train_size == 1
    assert "99 of 100 pictures are copies of others: the first of each counts, for a copy is no further" in caplog.text
    few = digits[0][:3].repeat(30, 1, 1, 1)
    assert tbft.diagnose("digits", few).images == 3


def test_what_has_no_copy_stays_as_it_is(digits, caplog):
    assert tbft.personalize("digits", *digits, level="output").record.train_size == 100
    assert "copies" not in caplog.text


def test_a_copied_file_counts_once_from_both_doors(digits, tmp_path, caplog):
    for i, (image, label) in enumerate(zip(*digits, strict=True)):
        file = tmp_path / str(int(label)) / f"{i:03d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    first = sorted((tmp_path / "3").iterdir())[0]
    shutil.copy(first, tmp_path / "3" / "copy.png")
    shutil.copy(first, tmp_path / "8" / "copy.png")
    paths, _ = labelled_files(tmp_path)
    assert len(paths) == 100 and first in paths and not [path for path in paths if path.name == "copy.png"]
    assert "2 of 102 labelled pictures are copies of others, 1 of them with another label" in caplog.text
    data = Folder(str(tmp_path), image_size=16, test_size=0, base_classes=tuple("0123456789"))
    data.setup()
    assert len(data.train) + len(data.val) == 100


def test_copies_of_what_trains_are_told_where_a_folder_is_split_already(digits, tmp_path, caplog):
    for i, (image, label) in enumerate(zip(*digits, strict=True)):
        for part in ("train", "test") if i < 30 else ("train",) if i % 2 else ("test",):
            file = tmp_path / part / str(int(label)) / f"{i:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    data = Folder(str(tmp_path), image_size=16, base_classes=tuple("0123456789"))
    data.setup()
    assert "30 of 65 pictures in test are copies of ones that train" in caplog.text and len(data.test) == 65


def test_classes_without_a_label_that_a_remedy_gives_up_are_named(digits):
    x, y = digits
    some = y < 8
    found = tbft.diagnose("digits", x[some], y[some])
    assert "prior" in found.levels
    assert any(sentence.startswith("classes 8, 9 have no labelled image") for sentence in found.advice)
    assert not any("no labelled image" in sentence for sentence in tbft.diagnose("digits", x, y).advice)
