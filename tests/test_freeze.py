"""Frozen means frozen: parameters, buffers and mode, whatever the policy."""

import pytest
import torch
from bare_trainer import bare_trainer
from torch.nn import BatchNorm2d

from tbft.adaptation.feature_cache import FeatureCache
from tbft.callbacks import BlockFreezeCallback, FeatureCacheCallback
from tbft.data import Digits
from tbft.module import ImageClassifier

pytestmark = pytest.mark.numbers


def personalize(blocks, statistics="source", *, cache=True, epochs=2, level=None, optimizer=None):
    torch.manual_seed(0)
    module = ImageClassifier(base="digits", schedule="constant", **({"optimizer": optimizer} if optimizer else {}))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    freeze = BlockFreezeCallback(level=level, blocks=blocks, statistics=statistics)
    trainer = bare_trainer(
        max_epochs=epochs,
        callbacks=[freeze, FeatureCacheCallback(freeze, FeatureCache(enabled=cache))],
    )
    data = Digits(corruption="contrast", train_size=200, image_size=16, batch_size=32)
    trainer.fit(module, datamodule=data)
    after = {key.removeprefix("model."): value for key, value in module.state_dict().items()}
    changed = {key for key, value in after.items() if not torch.equal(value, before["model." + key])}
    return module, changed, data


def keys_of(module, links):
    chain = module.model
    inside = set(chain.modules_of(links))
    return {
        f"{name}.{key}"
        for name, part in chain.named_modules()
        if part in inside
        for key in [*dict(part.named_parameters(recurse=False)), *dict(part.named_buffers(recurse=False))]
    }


def statistics_of(module):
    return {
        f"{name}.{key}"
        for name, part in module.model.named_modules()
        if isinstance(part, BatchNorm2d)
        for key in ("running_mean", "running_var", "num_batches_tracked")
    }


@pytest.mark.parametrize(
    "blocks", [["block1"], ["block2"], ["block3"], ["fc"], ["block1", "block3"], ["block2", "fc"], ["all"]]
)
def test_source_statistics_leave_everything_else_bit_for_bit(blocks):
    module, changed, _ = personalize(blocks)
    target = module.model.resolve(blocks)
    assert changed == keys_of(module, target)


@pytest.mark.parametrize("blocks", [["block1"], ["block3"], ["fc"]])
def test_refreshed_statistics_are_all_that_changes_elsewhere(blocks):
    module, changed, _ = personalize(blocks, "refresh")
    target = keys_of(module, module.model.resolve(blocks))
    assert target <= changed
    assert changed - target == statistics_of(module) - target


def test_refreshed_statistics_are_then_fixed():
    short, _, _ = personalize(["block3"], "refresh", epochs=1)
    long, _, _ = personalize(["block3"], "refresh", epochs=3)
    for key in statistics_of(short) - keys_of(short, ["block3"]):
        assert torch.equal(short.model.state_dict()[key], long.model.state_dict()[key])


def test_batch_statistics_follow_the_data_in_frozen_blocks_too():
    module, changed, data = personalize(["fc"], "batch")
    assert changed == statistics_of(module) | {"fc.weight", "fc.bias"}
    assert data.train.start is None  # nothing is constant, so nothing was cached


def test_gradients_are_made_for_the_target_alone():
    module, _, _ = personalize(["block2"])
    wanting = {name for name, p in module.model.named_parameters() if p.requires_grad}
    assert wanting == {key for key in keys_of(module, ["block2"]) if key in dict(module.model.named_parameters())}


def test_freezing_twice_is_freezing_once():
    module = ImageClassifier(base="digits")
    freeze = BlockFreezeCallback()
    for links in (("block1",), ("block3",), ("block3",)):
        freeze.freeze(module.model, links)
    assert {n.split(".")[0] for n, p in module.model.named_parameters() if p.requires_grad} == {"layer3"}
    assert [m.training for m in (module.model.layer1[0].bn1, module.model.layer3[0].bn1)] == [False, True]


@pytest.mark.parametrize(("level", "block"), [("input", "block1"), ("feature", "block3"), ("output", "fc")])
def test_a_drift_level_tunes_its_block(level, block):
    _, data = ImageClassifier(base="digits"), Digits(image_size=16)
    assert BlockFreezeCallback(level=level).target_of(_.model, data.drift) == (block,)
