"""Nobody names the drift on a device: it looks at no more than decides, and trains where the large tool would."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import pictures, write_bundle, write_pictures

import tbft.device.training
import tbft.diagnosis.looking
from tbft.data import Digits
from tbft.device import Device, load
from tbft.device.memory import MemoryLimit
from tbft.device.pictures import PictureFiles, read_unlabelled
from tbft.diagnosis.looking import FIRST_IMAGES
from tbft.errors import BadInput


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return load(write_bundle(tmp_path), threads=1)


@cache
def digits(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits with low contrast: with the statistics refreshed, the front block aligned, ten points are left."""
    data = Digits(image_size=16, train_size=images, corruption="contrast")
    data.setup()
    assert data.train is not None and data.val is not None
    return tuple(np.concatenate([getattr(part, name).numpy() for part in (data.train, data.val)]) for name in "xy")


def accuracy(device: Device) -> float:
    pixels, labels = pictures("input", "test")
    return float(np.mean([row.label == label for row, label in zip(device.predict(pixels), labels, strict=True)]))


def test_the_last_stage_is_trained_where_much_is_left(device: Device) -> None:
    record = device.personalize(*digits(300))
    assert record["strategy"].endswith("+block") and "block3" in record["blocks"]
    assert record["epochs"] == len(record["curve"]) == 4
    assert set(record["not_trained"]) == {"input", "full"}
    assert accuracy(device) > 0.85


def test_what_a_bundle_cannot_train_is_left_out_and_said(device: Device) -> None:
    del device.bundle.manifest["graphs"]["step.block3"]
    device.bundle.manifest["left_out"]["training block3"] = "no gradient for Foo"
    record = device.personalize(*digits(300))
    assert record["not_trained"]["feature"] == "no gradient for Foo"
    assert record["epochs"] == 0 and record["kept"] == "adapted"


def test_what_was_judged_is_what_is_kept_where_nothing_is_aligned(device: Device, monkeypatch) -> None:
    monkeypatch.setattr(tbft.diagnosis.looking, "FIRST_IMAGES", 100)
    monkeypatch.setattr(tbft.diagnosis.looking, "IMAGES_OF_EACH", 10)
    del device.bundle.manifest["graphs"]["align"]
    pixels, _ = digits(300)
    record = device.personalize(pixels, labelled=False)
    assert (record["strategy"], record["diagnosis"]["images"]) == ("refresh", 100)
    looked = np.sort(np.random.default_rng(0).permutation(len(pixels))[:100])
    expected, kept = device._base().statistics(pixels[looked]), device.state.current()
    assert all(np.allclose(kept[key], value, atol=1e-6) for key, value in expected.items())


def test_a_trained_block_without_evidence_for_it_is_not_kept(device: Device, monkeypatch) -> None:
    monkeypatch.setattr(tbft.device.training.BlockRecipe, "batch_of", lambda self, images: images)  # four small steps
    record = device.personalize(*digits(300))
    assert "before training" in record["not_kept"]["block3"]
    assert "block3" not in record["blocks"] and record["kept"] == "adapted"


def test_where_a_block_trained_in_vain_all_pictures_choose_the_head(device: Device, monkeypatch) -> None:
    monkeypatch.setattr("tbft.device.climb.reason_to_keep_base", lambda base, adapted: "no evidence")
    record = device.personalize(*digits(300))
    assert record["diagnosis"]["images"] == FIRST_IMAGES and "block3" in record["not_kept"]
    assert record["strategy"] == "refresh+align+head" and record["kept"] == "adapted"
    found = accuracy(device)
    with monkeypatch.context() as patch:
        patch.setattr("tbft.device.climb._Climb._choose_from_all", lambda self, choice: choice.head)
        device.revert()
        device.personalize(*digits(300))
    assert found > accuracy(device)


def test_too_few_validation_pictures_train_nothing(device: Device) -> None:
    record = device.personalize(*digits(150))
    assert record["epochs"] == 0 and "not_trained" not in record


def test_nothing_is_trained_on_labels_that_contradict_a_confident_model(device: Device) -> None:
    data = Digits(image_size=16, train_size=200, label_noise=0.4)
    data.setup()
    assert data.train is not None and data.val is not None
    record = device.personalize(torch.cat([data.train.x, data.val.x]).numpy(), torch.cat([data.train.y, data.val.y]))
    assert record["epochs"] == 0 and "not_trained" not in record
    assert any(sentence.startswith("check the labels") for sentence in record["diagnosis"]["advice"])


def test_a_first_part_is_looked_at_where_it_decides(device: Device) -> None:
    assert device.personalize(*digits(300))["diagnosis"]["images"] == FIRST_IMAGES
    assert device.diagnose(*digits(300)).images == 300


def test_a_picture_is_read_when_it_is_needed_and_once(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "mine", "output", tuple("0123456789"), count=20)
    sample = read_unlabelled(folder, 16, MemoryLimit())
    assert isinstance(sample.source, PictureFiles)
    whole = read_unlabelled(folder, 16, MemoryLimit()).pixels
    first = sample.take(np.array([7, 3]))
    np.testing.assert_array_equal(first.pixels, whole[[7, 3]])
    for path in (sample.source.paths[3], sample.source.paths[7]):
        path.unlink()
    np.testing.assert_array_equal(sample.pixels, whole)
    sample.source.paths[5].write_bytes(b"no picture")
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        _ = read_unlabelled(folder, 16, MemoryLimit()).pixels
