"""The frozen prefix runs once per image, wherever its outputs are kept, and the result is the same."""

import os

import pytest
import torch
from bare_trainer import bare_trainer

from tbft.adaptation.evaluation import evaluate
from tbft.adaptation.feature_cache import FeatureCache
from tbft.callbacks import BlockFreezeCallback, FeatureCacheCallback
from tbft.data import Digits
from tbft.module import ImageClassifier

pytestmark = pytest.mark.numbers

EPOCHS, IMAGES = 2, 200
MIB = 200 * 16 * 16 * 16 * 4 / 2**20  # what enters block2 for training and validation images: 16 channels at 16 px


class Counted(ImageClassifier):
    """Counts the images that pass the first block."""

    def __init__(self, **options):
        super().__init__(base="digits", schedule="constant", number_format="channels_last", **options)
        self.seen = 0
        self.model.layer1.register_forward_hook(self._count)

    def _count(self, layer, inputs, outputs):
        self.seen += len(outputs)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def train(folder, cache, *, target="block2", statistics="source", augment="none"):
    torch.manual_seed(0)
    module = Counted(optimizer=sgd)
    data = Digits(corruption="contrast", train_size=IMAGES, image_size=16, batch_size=32, augment=augment)
    freeze = BlockFreezeCallback(blocks=[target], statistics=statistics)
    bare_trainer(
        max_epochs=EPOCHS,
        callbacks=[freeze, FeatureCacheCallback(freeze, cache)],
        default_root_dir=folder,
    ).fit(module, datamodule=data)
    return module, data


def assert_same_weights(one, other):
    for key, value in one.state_dict().items():
        assert torch.allclose(value.float(), other.state_dict()[key].float(), atol=1e-5), key


@pytest.fixture(scope="module")
def uncached(tmp_path_factory):
    module, data = train(tmp_path_factory.mktemp("uncached"), FeatureCache(enabled=False))
    assert module.seen == EPOCHS * (len(data.train) + len(data.val))
    return module


@pytest.mark.parametrize("target", ["block2", "block3", "fc"])
def test_the_prefix_runs_once_per_image_and_the_weights_are_the_same(tmp_path, target):
    cached, data = train(tmp_path, FeatureCache(), target=target)
    plain, _ = train(tmp_path, FeatureCache(enabled=False), target=target)
    assert cached.seen == len(data.train) + len(data.val)
    assert data.train.start == data.val.start == target
    assert_same_weights(cached, plain)


def test_above_the_limit_features_lie_on_disk_and_leave_nothing_behind(tmp_path, uncached):
    cache = FeatureCache(memory_limit=MIB / 2)
    module, _ = train(tmp_path, cache)
    assert cache.place == "disk" and cache.mib == pytest.approx(MIB)
    assert module.seen == uncached.seen / EPOCHS
    assert_same_weights(module, uncached)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limits", [{"memory_limit": 0, "disk_limit": 0}, {"memory_limit": 1e-9, "disk_limit": 1e-9}])
def test_where_not_one_image_fits_the_prefix_runs_in_every_epoch(tmp_path, uncached, caplog, limits):
    cache = FeatureCache(**limits)
    module, data = train(tmp_path, cache)
    assert cache.place == "none" and data.train.start is None
    assert "cache.memory_limit" in caplog.text and "cache.disk_limit" in caplog.text
    assert_same_weights(module, uncached)


def full_disk(*args):
    raise OSError(28, "No space left on device")


def no_memory(shape, empty=torch.empty, **options):
    if isinstance(shape, tuple) and shape[1:] == (16, 16, 16):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
    return empty(shape, **options)


@pytest.mark.parametrize(
    ("limit", "place", "spoil", "word"),
    [(0, (os, "posix_fallocate"), full_disk, "No space left"), (512, (torch, "empty"), no_memory, "memory")],
    ids=["full disk", "no memory"],
)
def test_what_runs_out_falls_back(tmp_path, uncached, caplog, monkeypatch, limit, place, spoil, word):
    monkeypatch.setattr(*place, spoil)
    cache = FeatureCache(memory_limit=limit)
    module, _ = train(tmp_path, cache)
    assert cache.place == "none" and word in caplog.text
    assert_same_weights(module, uncached)


def test_half_precision_takes_half_the_space_and_changes_little(tmp_path, uncached):
    cache = FeatureCache(half=True)
    module, data = train(tmp_path, cache)
    assert cache.mib == pytest.approx(MIB / 2) and data.train.x.dtype == torch.bfloat16
    both = [evaluate(one, data.test).accuracy for one in (module, uncached)]
    assert abs(both[0] - both[1]) < 0.02


def test_augmented_images_are_not_cached_and_it_says_why(tmp_path, caplog):
    _, data = train(tmp_path, FeatureCache(), augment="crop")
    assert data.train.start is None and "data.augment" in caplog.text


def test_batch_statistics_leave_nothing_to_cache(tmp_path):
    cache = FeatureCache()
    _, data = train(tmp_path, cache, statistics="batch")
    assert cache.place == "none" and data.train.start is None


def test_refreshed_statistics_come_before_the_cache(tmp_path):
    cached, data = train(tmp_path, FeatureCache(), statistics="refresh")
    plain, _ = train(tmp_path, FeatureCache(enabled=False), statistics="refresh")
    assert data.train.start == "block2"
    assert_same_weights(cached, plain)
