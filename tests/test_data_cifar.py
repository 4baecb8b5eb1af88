"""CIFAR-10 from binary files and class folders, CIFAR-10-C from its authors' files."""

import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from tbft.data import CIFAR10, CIFAR10C, cifar10, cifar10c
from tbft.data.cifar10 import CLASSES
from tbft.data.cifar10c import md5_sums
from tbft.data.corruptions import CORRUPTIONS
from tbft.errors import BadInput

RNG = np.random.default_rng(0)


def pictures(count):
    return RNG.integers(0, 256, (count, 3, 32, 32), np.uint8), np.arange(count) % 10


def binary(path, images, labels):
    path.parent.mkdir(exist_ok=True)
    np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(len(images), -1)], 1).tofile(path)


def opened(kind, root, **options):
    data = kind(str(root), **options)
    data.setup()
    return data


@pytest.fixture
def files(tmp_path):
    """Five training files of 50 images in all, and a test file of 40."""
    made = {}
    counts = {"data_batch_1": 15, "data_batch_2": 5, "data_batch_3": 10, "data_batch_4": 12, "data_batch_5": 8}
    for name, count in {**counts, "test_batch": 40}.items():
        made[name] = pictures(count)
        binary(tmp_path / "cifar-10-batches-bin" / f"{name}.bin", *made[name])
    return made


def whole(*parts):
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def same_pictures(examples, images, labels):
    """Each example is one of these pictures, with its label."""
    position = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    return all(position[x.numpy().tobytes()] == y for x, y in zip(examples.x, examples.y, strict=True))


def test_the_test_images_are_the_target_domain(tmp_path, files):
    data = opened(CIFAR10, tmp_path, train_size=20)
    assert len(data.train) + len(data.val) == 20 and len(data.test) == 20
    assert all(same_pictures(part, *files["test_batch"]) for part in (data.train, data.val, data.test))


def test_the_source_domain_trains_on_train_and_tests_on_test(tmp_path, files):
    data = opened(CIFAR10, tmp_path, domain="source")
    assert len(data.train) + len(data.val) == 50 and len(data.test) == 40
    assert same_pictures(data.train, *whole(*(files[f"data_batch_{i}"] for i in range(1, 6))))
    assert same_pictures(data.test, *files["test_batch"])


def test_class_folders_serve_as_well(tmp_path):
    for label, name in enumerate(CLASSES):
        (tmp_path / "test" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (32, 32), (20 * label,) * 3).save(tmp_path / "test" / name / f"{i}.png")
    data = opened(CIFAR10, tmp_path, train_size=20)
    assert torch.equal(data.test.x[:, 0, 0, 0].long(), 20 * data.test.y)
    (tmp_path / "test" / "ship").rename(tmp_path / "vessel")
    with pytest.raises(BadInput, match="lacks a folder for class ship"):
        opened(CIFAR10, tmp_path)


def test_pictures_are_resized_to_the_base_models_size(tmp_path, files):
    assert opened(CIFAR10, tmp_path, train_size=20, image_size=16).test.x.shape == (20, 3, 16, 16)


def test_wrong_binary_files_are_named(tmp_path, files):
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    binary(path, files["test_batch"][0], files["test_batch"][1] + 5)
    with pytest.raises(BadInput, match=r"test_batch.bin \(record 5\) has label 10"):
        opened(CIFAR10, tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadInput, match=r"test_batch.bin has \d+ bytes"):
        opened(CIFAR10, tmp_path)


def test_an_interrupted_unpack_is_no_data_set(tmp_path, files, monkeypatch):
    folder = tmp_path / "cifar-10-batches-bin"
    archive = tmp_path / "mirror.tar"
    monkeypatch.setattr(cifar10, "MD5", tarred(archive, folder.iterdir()))
    for number in (2, 4):
        (folder / f"data_batch_{number}.bin").unlink()
    with pytest.raises(
        BadInput, match=r"batches-bin lacks data_batch_2\.bin, data_batch_4\.bin\): give --data\.download"
    ):
        opened(CIFAR10, tmp_path, domain="source")
    data = opened(CIFAR10, tmp_path, domain="source", download=True, url=archive.as_uri())
    assert len(data.train) + len(data.val) == 50


def test_pickles_are_not_opened(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"anything")
    with pytest.raises(BadInput, match="holds pickles, which could run code"):
        opened(CIFAR10, tmp_path)


@pytest.fixture
def benchmark(tmp_path):
    """Five severities of 40 images; the severity stands in the first pixel."""
    images, labels = pictures(40)
    all_five = np.tile(images.transpose(0, 2, 3, 1), (5, 1, 1, 1))
    all_five[:, 0, 0, 0] = np.repeat(np.arange(1, 6), 40)
    np.save(tmp_path / "fog.npy", all_five)
    np.save(tmp_path / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    return tmp_path, images, labels


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_the_benchmarks_files_are_read_by_severity(benchmark, severity):
    root, images, labels = benchmark
    data = opened(CIFAR10C, root, corruption="fog", severity=severity, train_size=20, check_md5=False)
    assert (data.test.x[:, 0, 0, 0] == severity).all()
    images = images.copy()
    images[:, 0, 0, 0] = severity
    assert same_pictures(data.test, images, labels)
    assert (data.drift.level, data.drift.name, data.drift.severity) == ("input", "fog", severity)


def test_the_sums_cover_all_19_corruptions():
    assert {f"{name}.npy" for name in CORRUPTIONS} | {"labels.npy", "CIFAR-10-C.tar"} == set(md5_sums())


def tarred(path, files):
    with tarfile.open(path, "w") as tar:
        for file in files:
            tar.add(file, f"inside/{file.name}")
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar10_is_downloaded_once(tmp_path, files, monkeypatch):
    source = tmp_path / "cifar-10-batches-bin"
    archive, root = tmp_path / "mirror.tar", tmp_path / "root"
    options = {"download": True, "url": archive.as_uri(), "train_size": 20}
    monkeypatch.setattr(cifar10, "MD5", tarred(archive, source.iterdir()))
    first = opened(CIFAR10, root, **options)
    assert same_pictures(first.test, *files["test_batch"])
    archive.unlink()
    assert torch.equal(opened(CIFAR10, root, **options).test.x, first.test.x)
    assert {path.name for path in root.iterdir()} == {"cifar-10-batches-bin"}


def test_the_benchmark_is_downloaded_once_and_each_file_checked(benchmark, tmp_path, monkeypatch):
    folder, _, _ = benchmark
    sums = {"labels.npy": "", **{f"{name}.npy": "" for name in CORRUPTIONS}}
    for name in sums:
        if not (folder / name).is_file():
            shutil.copy(folder / "fog.npy", folder / name)
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    archive, root = tmp_path / "mirror.tar", tmp_path / "root"
    sums["CIFAR-10-C.tar"] = tarred(archive, [folder / name for name in sums])
    monkeypatch.setattr(cifar10c, "md5_sums", lambda: sums)
    options = {"download": True, "url": archive.as_uri(), "corruption": "snow", "train_size": 20}
    first = opened(CIFAR10C, root, **options)
    archive.unlink()
    assert torch.equal(opened(CIFAR10C, root, **options).test.x, first.test.x)
    assert [path.name for path in root.iterdir()] == ["CIFAR-10-C"]
    (root / "CIFAR-10-C" / "snow.npy").write_bytes((folder / "labels.npy").read_bytes())
    with pytest.raises(BadInput, match=r"snow\.npy has md5"):
        opened(CIFAR10C, root, **options)


def wrong_md5(root):
    return {"check_md5": True}, r"fog\.npy has md5"


def labels_out_of_range(root):
    np.save(root / "labels.npy", np.full(200, 10, np.uint8))
    return {}, r"labels\.npy \(entry 160\) has label 10"


def labels_missing(root):
    (root / "labels.npy").unlink()
    return {}, r"no labels\.npy"


def other_shape(root):
    np.save(root / "fog.npy", np.zeros((200, 3, 32, 32), np.uint8))
    return {}, r"fog\.npy holds uint8 of shape \(200, 3, 32, 32\)"


def pickled(root):
    np.save(root / "fog.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return {}, r"fog\.npy cannot be read as an array"


def cut(root):
    path = root / "fog.npy"
    path.write_bytes(path.read_bytes()[:1000])
    return {}, r"fog\.npy cannot be read as an array"


def no_corruption(root):
    return {"corruption": "smog"}, "'smog': choose one of brightness"


def source(root):
    return {"domain": "source"}, "no source domain"


@pytest.mark.parametrize(
    "spoil",
    [wrong_md5, labels_out_of_range, labels_missing, other_shape, pickled, cut, no_corruption, source],
)
def test_wrong_benchmark_files_are_named(benchmark, spoil):
    options, words = spoil(benchmark[0])
    with pytest.raises(BadInput, match=words):
        opened(CIFAR10C, benchmark[0], **({"corruption": "fog", "check_md5": False} | options))


def test_a_header_is_no_place_for_code(benchmark):
    """An array's header is read as a literal, never evaluated."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(4, np.uint8))
    (benchmark[0] / "fog.npy").write_bytes(buffer.getvalue().replace(b"'fortran_order'", b"exit('code ran')"))
    with pytest.raises(BadInput, match="cannot be read"):
        opened(CIFAR10C, benchmark[0], corruption="fog", check_md5=False)
