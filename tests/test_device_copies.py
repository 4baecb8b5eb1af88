"""On a device too a picture that is there twice counts once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from exported import pictures, write_bundle, write_pictures

from tbft.data.images import labelled_files
from tbft.device import Device, load
from tbft.device.memory import MemoryLimit
from tbft.device.pictures import read_labelled, read_unlabelled

CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    return load(write_bundle(tmp_path_factory.mktemp("bundle")), threads=1)


@pytest.mark.parametrize("times", [1, 3])
def test_labels_at_random_do_not_speak_for_what_learnt_them_by_heart(
    device: Device, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = pictures("source")[0][:100]
    labels = np.random.default_rng(0).integers(0, 10, len(pixels))
    record = device.personalize(np.tile(pixels, (times, 1, 1, 1)), np.tile(labels, times))
    assert (record["kept"], record["train_size"]) == ("base", len(pixels))
    assert ("200 of 300 labelled pictures are copies of others: the first" in caplog.text) == (times == 3)


def test_a_folder_is_read_as_the_large_tool_reads_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path, "source", CLASSES)
    first = sorted((tmp_path / "3").iterdir())[0]
    shutil.copy(first, tmp_path / "3" / "copy.png")
    shutil.copy(first, tmp_path / "8" / "copy.png")
    sample = read_labelled(tmp_path, CLASSES, 16, MemoryLimit())
    assert "2 of 62 labelled pictures are copies of others, 1 of them with another label" in caplog.text
    paths, names = labelled_files(tmp_path)
    assert sample.names == tuple(map(str, paths)) and sample.labels is not None
    assert [CLASSES[label] for label in sample.labels] == names and len(names) == 60
    assert len(read_unlabelled(tmp_path, 16, MemoryLimit())) == 62
    assert len(read_unlabelled(tmp_path, 16, MemoryLimit(), distinct=True)) == 60


def test_copies_without_labels_are_no_further_evidence(device: Device) -> None:
    dark = np.zeros((100, 3, 16, 16), np.uint8)
    dark[0] += 1
    record = device.personalize(dark)
    assert (record["kept"], record["train_size"]) == ("base", 2)
    assert len(device.predict(dark)) == 100
