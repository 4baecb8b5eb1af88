"""A device brings a drifted model back, keeps it only if it is no worse, and says what it did."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import pictures, write_bundle, write_pictures

import tbft.device.evidence
import tbft.device.memory
import tbft.device.pictures
from tbft.data.picture_file import read_picture
from tbft.device import Device, load
from tbft.device.levels import LEVELS
from tbft.device.memory import MemoryLimit, resident_mib
from tbft.device.schedules import cosine, one_cycle
from tbft.errors import BadInput
from tbft.schema import PHASES, RunRecord


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return load(write_bundle(tmp_path), threads=1)


def accuracy(device: Device, drift: str) -> float:
    pixels, labels = pictures(drift, "test")
    return float((labels_of(device, pixels) == labels).mean())


def labels_of(device: Device, pixels: np.ndarray) -> np.ndarray:
    return np.array([row.label for row in device.predict(pixels)])


@pytest.mark.parametrize(
    ("drift", "base", "before", "after"),
    [("input", "digits", 0.3, 0.75), ("feature", "digits_superclasses", 0.3, 0.85), ("output", "digits", 0.05, 0.9)],
)
def test_each_level_is_brought_back(tmp_path: Path, drift: str, base: str, before: float, after: float) -> None:
    device = load(write_bundle(tmp_path, base), threads=1)
    assert accuracy(device, drift) < before
    record = device.personalize(*pictures(drift), level=drift)  # type: ignore[arg-type]
    assert record["kept"] == "adapted"
    assert accuracy(device, drift) > after
    device.revert()
    assert accuracy(device, drift) < before


def test_without_labels_the_input_level_is_brought_back(device: Device) -> None:
    record = device.personalize(pictures("input")[0], level="input")
    assert (record["strategy"], record["accuracy"]["validation"]) == ("refresh+align", None)
    assert accuracy(device, "input") > 0.75


def test_nobody_has_to_name_the_drift(device: Device) -> None:
    pixels, labels = pictures("input")
    record = device.personalize(pixels, 9 - labels)  # two drifts at once
    assert {"refresh", "relabel"} <= set(record["strategy"].split("+"))
    tested, truth = pictures("input", "test")
    assert (labels_of(device, tested) == 9 - truth).mean() > 0.7


def test_the_output_level_reads_as_many_pictures_as_it_takes(tmp_path: Path, monkeypatch) -> None:
    mine = write_pictures(tmp_path / "mine", "output", tuple("0123456789"), count=180)
    device, read = load(write_bundle(tmp_path), threads=1), []
    monkeypatch.setattr(
        tbft.device.pictures, "read_picture", lambda path, size: [read.append(path), read_picture(path, size)][1]
    )
    monkeypatch.setattr(tbft.device.evidence, "FIRST_OF_EACH", 4)  # of 162 that train
    record = device.personalize(mine, level="output")
    assert record["kept"] == "adapted" and accuracy(device, "output") > 0.95
    assert len(read) == len(set(read)) == 18 + 80  # those that validate, and four, then eight of a class that train


def test_few_labels_of_a_permutation_are_enough(device: Device) -> None:
    pixels, labels = pictures("output")
    record = device.personalize(pixels[:60], labels[:60], level="output")
    assert "relabel" in record["strategy"].split("+")
    assert accuracy(device, "output") > 0.95


def test_large_images_are_looked_at_in_small_pieces(device: Device) -> None:
    about = device.bundle.manifest["graphs"]["forward"]
    sizes = []
    for about["image_bytes"] in (2**10, 2**20, 2**30):
        sizes.append(device._base().piece_of("forward"))
    assert sizes == [256, 16, 1]


@pytest.mark.parametrize("level", ["auto", "output"])
def test_a_broken_picture_is_as_if_it_were_not_there(tmp_path: Path, device: Device, caplog, level: str) -> None:
    mine = write_pictures(tmp_path / "mine", "output", tuple("0123456789"))
    whole = device.personalize(mine, level=level)  # type: ignore[arg-type]
    delta = device.delta()
    for name in ("0", "7"):
        (mine / name / "0.png").write_bytes((mine / name).iterdir().__next__().read_bytes()[:200])
    record = device.personalize(mine, level=level)  # type: ignore[arg-type]
    assert (whole["skipped_pictures"], record["skipped_pictures"]) == (0, 2)
    assert device.delta() == delta and record["train_size"] == whole["train_size"]
    assert "left out" in caplog.text and str(mine / "7" / "0.png") in caplog.text
    assert len(device.predict(mine)) == whole["train_size"] and len(device.predict(mine).broken) == 2
    assert device.diagnose(mine).images == whole["train_size"]


def test_pictures_that_are_all_broken_are_refused(tmp_path: Path, device: Device) -> None:
    (tmp_path / "mine" / "3").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "mine" / "3" / f"{name}.png").write_text(name)
    for answer in (device.predict, device.diagnose, lambda folder: device.personalize(folder, labelled=False)):
        with pytest.raises(BadInput, match=r"a\.png cannot be read as a picture .*\(and 2 more\): replace or remove"):
            answer(tmp_path / "mine")


def test_some_of_the_classes_are_enough_to_diagnose_and_too_few_to_adapt(tmp_path: Path, device: Device) -> None:
    mine = write_pictures(tmp_path / "mine", "source", tuple("0123456789"))
    for name in "3459":
        shutil.rmtree(mine / name)
    assert device.diagnose(mine).images == sum(1 for _ in mine.rglob("*.png"))
    for level in LEVELS:  # what is fitted to the others would hardly predict the missing ones
        with pytest.raises(BadInput, match="'3', '4', '5', '9' of the base model's classes are missing"):
            device.personalize(mine, level=level)
    (mine / "0").rename(mine / "nought")
    with pytest.raises(BadInput, match="does not know 'nought'"):
        device.diagnose(mine)


def test_labels_of_some_classes_are_warned_of(device: Device, caplog) -> None:
    pixels, labels = pictures("source")
    device.personalize(pixels[labels < 8], labels[labels < 8])
    assert "2 of 10 classes have no labelled picture" in caplog.text


def test_the_base_model_stays_where_nothing_drifted(device: Device) -> None:
    device.personalize(*pictures("output"), level="output")
    record = device.personalize(*pictures("source"))
    assert (record["kept"], device.delta()) == ("base", None)
    assert record["kept_reason"] == "nothing in the sample shows drift"


def test_a_diagnosis_changes_nothing(device: Device) -> None:
    found = device.diagnose(*pictures("output"))
    assert (found.verdict, found.levels) == ("adapt", ("output",))
    assert not device.state.folder.exists()


def test_labels_that_say_nothing_leave_the_base_model(device: Device) -> None:
    pixels, labels = pictures("source")
    record = device.personalize(pixels, np.random.default_rng(0).permutation(labels), level="feature")
    assert record["accuracy"]["validation"] >= record["accuracy"]["base_validation"]


def test_the_record_has_the_fields_of_a_run(device: Device) -> None:
    record = device.personalize(*pictures("output"), level="output")
    optional = {
        "error",
        "aligned",
        "level_block",
        "shared_machine",
        "diagnosis",
        "remedies",
    }  # which a run has in some cases only
    assert set(RunRecord.__annotations__) - optional <= set(record)
    assert set(record["joules"]) == {*PHASES, "adaptation"}
    assert record["cpu_seconds"]["adaptation"] == pytest.approx(
        sum(record["cpu_seconds"][phase] for phase in ("prepare", "train", "validate", "save"))
    )
    assert record["parameters"] == {"trained": 650, "total": 75_290}
    assert record["environment"]["torch"] is None
    assert (device.state.folder / "result.json").is_file()


def test_a_delta_carries_an_adaptation_to_another_device(tmp_path: Path, device: Device) -> None:
    device.personalize(*pictures("output"), level="output")
    delta = tmp_path / "better.delta"
    delta.write_bytes(device.delta() or b"")
    assert delta.stat().st_size < 5_000  # the head alone
    (tmp_path / "other").mkdir()
    other = load(write_bundle(tmp_path / "other"), threads=1)
    other.apply(delta)
    assert accuracy(other, "output") == accuracy(device, "output") > 0.9


def test_a_budget_stops_training(tmp_path: Path) -> None:
    device = load(write_bundle(tmp_path, "digits_superclasses"), threads=1)
    record = device.personalize(*pictures("feature"), level="feature", budget_seconds=0)
    assert (record["stopped_by"], record["steps"]) == ("seconds", 0)
    assert record["strategy"] in ("refresh", "none") and not record["blocks"]  # what was not trained is not named


def test_what_was_kept_is_told_where_its_record_cannot_be_written(device: Device, caplog) -> None:
    device.state.folder.mkdir()
    (device.state.folder / "result.json").mkdir()
    record = device.personalize(*pictures("output"), level="output")
    assert record["kept"] == "adapted" and device.delta() is not None
    assert "result.json cannot be written" in caplog.text


@pytest.mark.parametrize("level", ["feature", "output"])
def test_levels_that_need_labels_say_so(device: Device, level: str) -> None:
    with pytest.raises(BadInput, match=f"the {level} level needs labels"):
        device.personalize(pictures("input")[0], level=level)  # type: ignore[arg-type]


def test_one_picture_is_too_few(device: Device) -> None:
    with pytest.raises(BadInput, match="one picture is too few"):
        device.personalize(pictures("input")[0][:1], level="input")


def test_arrays_that_do_not_fit_are_refused(device: Device) -> None:
    pixels, labels = pictures("input")
    for bad in (pixels[:, :, :8], pixels.astype(np.float32), pixels[:0]):
        with pytest.raises(BadInput, match="give uint8"):
            device.predict(bad)
    with pytest.raises(BadInput, match="whole number from 0 to 9"):
        device.personalize(pixels, labels + 1, level="output")


def test_small_pieces_change_no_prediction(device: Device, monkeypatch) -> None:
    pixels, _ = pictures("input", "test")
    whole = [row.confidence for row in device.predict(pixels)]
    monkeypatch.setattr(MemoryLimit, "batch", lambda self, image_bytes, least=1: 7)
    np.testing.assert_allclose([row.confidence for row in device.predict(pixels)], whole, atol=1e-5)


def test_a_limit_below_what_the_process_takes_is_refused(device: Device) -> None:
    device.limit.mib = 10
    with pytest.raises(BadInput, match="a memory limit of 10 MiB is too low"):
        device.predict(pictures("input")[0])


def test_what_exceeds_half_of_the_memory_left_lies_in_a_file(tmp_path: Path) -> None:
    assert isinstance(MemoryLimit(1e6, tmp_path).empty((10,), np.float32), np.ndarray)
    array = MemoryLimit(1, tmp_path).empty((10, 3), np.float32)
    array[:] = 2.0
    assert isinstance(array, np.memmap) and array.sum() == 60.0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("level", ["auto", "input"])
def test_aligning_that_does_not_fit_is_left_out_and_said(device: Device, monkeypatch, level: str) -> None:
    monkeypatch.setattr(MemoryLimit, "allows", lambda self, image_bytes, images: False)
    record = device.personalize(*pictures("input"), level=level)  # type: ignore[arg-type]
    assert record["not_aligned"] == "--memory-mib is too low for it"
    assert record["strategy"].startswith("refresh") and "align" not in record["strategy"]


def test_rows_that_are_taken_into_a_file_are_those_of_the_array(tmp_path: Path) -> None:
    limit, array = MemoryLimit(1, tmp_path), np.random.default_rng(0).integers(0, 9, (600, 3, 4), dtype=np.uint8)
    positions = np.random.default_rng(1).permutation(600)[:550]
    taken = limit.take(array, positions)
    assert isinstance(taken, np.memmap)
    np.testing.assert_array_equal(taken, array[positions])
    np.testing.assert_array_equal(np.concatenate([piece.copy() for piece in limit.pieces(taken, 7)]), taken)


def test_an_array_in_a_file_takes_no_memory_once_it_is_released(tmp_path: Path) -> None:
    array = MemoryLimit(1, tmp_path).empty((64, 2**20), np.uint8)
    array[:] = 7
    before = resident_mib()
    MemoryLimit.release(array)
    assert before - resident_mib() > 32
    assert (array[::9, :100] == 7).all()


def test_the_least_piece_of_work_is_done_where_it_just_fits(monkeypatch) -> None:
    monkeypatch.setattr(tbft.device.memory, "resident_mib", lambda: 90.0)
    assert MemoryLimit(100).batch(2**20, least=8) == 8
    assert MemoryLimit(100).batch(2**20, least=2) == 5
    with pytest.raises(BadInput, match=r"takes 90 MiB, and the least piece of work 10\.0 MiB more"):
        MemoryLimit(100).batch(2**20, least=10)


@pytest.mark.parametrize("steps", [2, 5, 10, 37])
def test_schedules_are_those_of_torch(steps: int) -> None:
    def rates(make) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        schedule, found = make(optimizer), []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    of_torch = rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps))
    np.testing.assert_allclose(cosine(0.3, steps), of_torch, rtol=1e-6)
    of_torch = rates(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.3, total_steps=steps + 1, cycle_momentum=False))
    np.testing.assert_allclose(one_cycle(0.3, steps + 1)[:steps], of_torch, rtol=1e-6)


def test_numbers_in_the_order_of_the_alphabet_are_no_labels(tmp_path: Path, device: Device) -> None:
    device.bundle.manifest["classes"] = []
    mine = write_pictures(tmp_path / "mine", "output", tuple("0123456789"))
    assert device.diagnose(mine).levels == ("output",)
    (mine / "0").rename(mine / "10")  # 10 stands before 2
    for answer in (device.diagnose, device.personalize):
        with pytest.raises(BadInput, match="export it again with --classes"):
            answer(mine)
    shutil.rmtree(mine / "10")
    with pytest.raises(BadInput, match="9 class folders and the base model 10 classes without names"):
        device.diagnose(mine)
