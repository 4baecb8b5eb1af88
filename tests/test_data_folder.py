"""One's own pictures in class folders, odd ones and broken ones among them."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from tbft.data import Folder
from tbft.data.images import label_indices, labelled_files
from tbft.data.picture_folders import pictures_in
from tbft.device.memory import MemoryLimit
from tbft.device.pictures import read_labelled
from tbft.errors import BadInput

COLOURS = {"ant": (200, 30, 30), "bee": (30, 200, 30), "cow": (30, 30, 200)}


def paint(folder, count, size=(20, 16), suffix="png", colours=None):
    rng = np.random.default_rng(len(str(folder)))
    for name, colour in (colours or COLOURS).items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            noise = rng.integers(-20, 20, (size[1], size[0], 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.{suffix}")
    return folder


def opened(root, **options):
    data = Folder(str(root), **({"image_size": 8, "train_size": 12} | options))
    data.setup()
    return data


def labels_fit_colours(examples, classes):
    brightest = examples.x.float().mean((2, 3)).argmax(1)
    return all(list(COLOURS)[int(b)] == classes[int(y)] for b, y in zip(brightest, examples.y, strict=True))


@pytest.mark.parametrize("layout", ["", "target"])
def test_class_folders_become_labels(tmp_path, layout):
    paint(tmp_path / layout, 10)
    data = opened(tmp_path)
    assert data.classes == tuple(COLOURS)
    assert data.train.x.shape == (11, 3, 8, 8) and data.train.x.dtype == torch.uint8
    assert (len(data.val), len(data.test)) == (1, 18)
    assert all(labels_fit_colours(part, data.classes) for part in (data.train, data.val, data.test))


def test_the_source_domain_lies_beside_the_target(tmp_path):
    paint(tmp_path / "source", 10)
    paint(tmp_path / "target", 4)
    assert len(opened(tmp_path, domain="source", train_size=None).train.y) > len(opened(tmp_path, train_size=6).train.y)
    only = paint(tmp_path / "elsewhere" / "source", 4).parent
    with pytest.raises(BadInput, match="none for the target domain"):
        opened(only)


def test_labels_follow_the_base_model_or_the_given_names(tmp_path):
    paint(tmp_path, 10)
    for options in ({"base_classes": ("cow", "Ant", "bee")}, {"class_names": ["cow", "ant", "bee"]}):
        data = opened(tmp_path, **options)
        assert [name.lower() for name in data.classes] == ["cow", "ant", "bee"]
        assert labels_fit_colours(data.test, [name.lower() for name in data.classes])


def test_a_split_of_its_own_is_used(tmp_path):
    for part, count in (("train", 8), ("val", 3), ("test", 5)):
        paint(tmp_path / part, count)
    data = opened(tmp_path, train_size=None)
    assert (len(data.train), len(data.val), len(data.test)) == (24, 9, 15)
    assert all("/test/" in name for name in data.test_names)
    with pytest.raises(BadInput, match=r"data\.validation is 0\.2 and the data sets 9 pictures aside to validate"):
        opened(tmp_path, train_size=None, validation=0.2)


def test_a_split_into_two_tests_on_the_second(tmp_path):
    paint(tmp_path / "train", 10)
    paint(tmp_path / "val", 3)
    data = opened(tmp_path, train_size=None)
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 9)
    assert all("/val/" in name for name in data.test_names)


def test_a_class_may_have_the_name_of_a_part_or_of_a_domain(tmp_path):
    vehicles = dict(zip(("bus", "target", "train"), COLOURS.values(), strict=True))
    paint(tmp_path, 10, colours=vehicles)
    assert opened(tmp_path).classes == tuple(vehicles) == tuple(dict.fromkeys(labelled_files(tmp_path)[1]))
    paint(tmp_path / "train", 2)
    with pytest.raises(BadInput, match="train and bus, which may be a part"):
        opened(tmp_path)


@pytest.mark.parametrize("parts", [("train", "val"), ("train",), ("source", "target")])
def test_parts_and_domains_are_no_classes_where_a_folder_of_classes_is_asked_for(tmp_path, parts):
    for part in parts:
        paint(tmp_path / part, 4)
    readers = (labelled_files, lambda folder: read_labelled(folder, parts, 8, MemoryLimit(), named=False))
    for read in readers:
        with pytest.raises(BadInput, match=f"give {tmp_path / parts[-1]}|give {tmp_path / 'train'}"):
            read(tmp_path)


def test_what_is_left_out_of_a_folder_is_said(tmp_path, caplog):
    paint(tmp_path, 6)
    (tmp_path / "bee" / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "cow" / "00.png").rename(tmp_path / "loose.png")
    assert len(labelled_files(tmp_path)[0]) == 17
    assert "1 pictures" in caplog.text and "(.heic)" in caplog.text and "in no class folder" in caplog.text


def test_folders_behind_links_count_and_links_in_a_circle_end(tmp_path):
    album = paint(tmp_path / "elsewhere", 3, colours={"album": (1, 2, 3)}) / "album"
    paint(tmp_path / "own", 3)
    (tmp_path / "own" / "ant" / "album").symlink_to(album)
    (tmp_path / "own" / "bee" / "round").symlink_to(tmp_path / "own")
    assert len(pictures_in(tmp_path / "own" / "ant")) == 6
    assert len(pictures_in(tmp_path / "own")) == 12


def test_numbered_classes_of_a_bundle_without_names_keep_their_order_or_are_asked_for_it(tmp_path):
    names = [str(i) for i in range(11)]
    paint(tmp_path, 1, colours=dict.fromkeys(names, (1, 2, 3)))
    with pytest.raises(BadInput, match="'10' early"):
        read_labelled(tmp_path, tuple(names), 8, MemoryLimit(), named=False)


def test_what_is_no_picture_by_name_does_not_disturb(tmp_path):
    paint(tmp_path, 6)
    (tmp_path / "ant" / "notes.txt").write_text("x")
    (tmp_path / "ant" / "._00.png").write_bytes(b"resource fork")
    (tmp_path / ".cache").mkdir()
    assert len(opened(tmp_path, train_size=9).test_names) == 9


def test_broken_pictures_end_the_run_or_are_counted(tmp_path, caplog):
    paint(tmp_path, 10, (200, 200), "jpg")
    cut = tmp_path / "bee" / "03.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    (tmp_path / "cow" / "99.jpg").write_text("text")
    with pytest.raises(BadInput, match=r"(03|99)\.jpg cannot be read"):
        opened(tmp_path)
    with caplog.at_level(logging.WARNING):
        data = opened(tmp_path, skip_broken=True)
    assert data.skipped == 2 and len(data.train) + len(data.val) == 12 and len(data.test) == 17
    assert "03.jpg" in caplog.text and "99.jpg" in caplog.text


def empty_class(root):
    (root / "dog").mkdir()
    return "dog holds no picture"


def one_picture(root):
    (root / "dog").mkdir()
    Image.new("RGB", (8, 8)).save(root / "dog" / "only.png")
    return "only.png"


def no_folders(root):
    for path in sorted(root.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    return "no class folders"


@pytest.mark.parametrize("spoil", [empty_class, one_picture, no_folders])
def test_folders_that_cannot_do_are_named(tmp_path, spoil):
    words = spoil(paint(tmp_path, 6))
    with pytest.raises(BadInput) as error:
        opened(tmp_path)
    assert words in str(error.value) and str(tmp_path) in str(error.value)


def test_a_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInput, match="nowhere is no folder"):
        opened(tmp_path / "nowhere")


def test_a_test_class_that_nothing_trains_is_named(tmp_path):
    paint(tmp_path / "train", 4)
    paint(tmp_path / "test", 2, colours={**COLOURS, "dog": (9, 9, 9)})
    with pytest.raises(BadInput, match="dog has no counterpart"):
        opened(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_above_the_limit_pictures_are_read_when_needed_and_are_the_same(tmp_path, caplog, workers):
    paint(tmp_path, 10)
    with caplog.at_level(logging.INFO, "tbft"):
        held, lazy = opened(tmp_path), opened(tmp_path, memory_limit=0.001, workers=workers)
    assert "kept in memory" in caplog.text and "batch by batch" in caplog.text
    assert not isinstance(lazy.train.x, torch.Tensor)
    for one, other in zip(held.test_dataloader(), lazy.test_dataloader(), strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)


def test_augmentation_is_the_same_in_workers_and_other_in_each_epoch(tmp_path):
    paint(tmp_path, 10)
    options = {"augment": "crop_and_flip", "batch_size": 4, "train_size": 24}
    epochs = {}
    for workers, limit in ((0, 2048), (2, 0.001)):
        loader = opened(tmp_path, memory_limit=limit, workers=workers, **options).train_dataloader()
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            epochs[workers, epoch] = torch.cat([batch.x for batch in loader])
    assert torch.equal(epochs[0, 0], epochs[2, 0]) and torch.equal(epochs[0, 1], epochs[2, 1])
    assert not torch.equal(epochs[0, 0].sort(0).values, epochs[0, 1].sort(0).values)


def test_a_corruption_depends_on_the_picture_not_on_the_batch(tmp_path):
    paint(tmp_path, 10)
    options = {"corruption": "gaussian_noise", "train_size": 12}
    held, lazy, clean = opened(tmp_path, **options), opened(tmp_path, memory_limit=0.001, **options), opened(tmp_path)
    one, other = next(iter(held.test_dataloader())), next(iter(lazy.test_dataloader()))
    assert torch.equal(one.x, other.x)
    assert not torch.equal(held.test.x, clean.test.x) and torch.equal(held.test.y, clean.test.y)


def test_numbered_classes_keep_their_order_or_are_asked_for_it(tmp_path):
    """Eleven numbers: the alphabet has 10 before 2, and a base model without names has not."""
    names = [str(i) for i in range(11)]
    paint(tmp_path, 3, colours={name: (20 * i, 0, 0) for i, name in enumerate(names)})
    options = {"train_size": 22, "image_size": 8}
    with pytest.raises(BadInput, match=r"another order .'10' early.: give data\.class_names"):
        opened(tmp_path, **options)
    for known in ({"class_names": names}, {"base_classes": tuple(names)}):
        data = opened(tmp_path, **options, **known)
        assert data.classes == tuple(names)
        assert ((data.train.x[:, 0].float().mean((1, 2)) / 20).round() - data.train.y).abs().max() <= 1
    assert opened(tmp_path, **options, domain="source").classes == tuple(sorted(names))
    with pytest.raises(BadInput, match="give classes="):
        label_indices(names, 11, (), 11)
