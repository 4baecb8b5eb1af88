"""The callbacks in a Lightning project that knows nothing of this package."""

import itertools
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from bare_trainer import bare_trainer
from foreign_project import SmallNet, TheirData, TheirImages, TheirModule
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tbft.adaptation.feature_cache import FeatureCache
from tbft.callbacks import (
    BlockFreezeCallback,
    EnergyCallback,
    FeatureCacheCallback,
    KeepBestCallback,
    RelativeGradientNormCallback,
)
from tbft.errors import BadInput
from tbft.models.statistics import inference_mode_of


@pytest.fixture(scope="module")
def base():
    """Their network, trained on their source images."""
    torch.manual_seed(0)
    module = TheirModule(SmallNet())
    bare_trainer(max_epochs=6).fit(module, datamodule=TheirData(drifted=False))
    return module.net.eval()


def accuracy(net, seed=3):
    images = TheirImages(300, drifted=True, seed=seed, keyed=False)
    with torch.no_grad(), inference_mode_of(net):
        return (net(images.x).argmax(1) == images.y).float().mean().item()


def fit(base, *callbacks, data=None, rate=0.05, epochs=3, kind=TheirModule, **trainer):
    """Their module around a copy of the base, fitted."""
    torch.manual_seed(0)
    module = kind(deepcopy(base), rate)
    bare_trainer(max_epochs=epochs, callbacks=[*callbacks], **trainer).fit(module, datamodule=data or TheirData())
    return module


def changed(module, base):
    before = base.state_dict()
    return {key for key, value in module.net.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("keyed", [False, True], ids=["tuples", "dictionaries"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)], ids=["one order", "the other"])
def test_all_four_bring_a_drifted_network_back_whatever_their_order(base, keyed, order):
    freeze = BlockFreezeCallback("feature", statistics="refresh")
    energy, keep, cache = EnergyCallback(codecarbon=False), KeepBestCallback(), FeatureCacheCallback(freeze)
    callbacks = [energy, freeze, cache, keep]
    module = fit(base, *(callbacks[i] for i in order), data=TheirData(keyed=keyed))
    assert accuracy(base) < 0.6 and accuracy(module.net) > 0.9
    assert keep.kept == "adapted" and keep.base.accuracy < keep.best.accuracy
    record = energy.finish()
    assert all(record["cpu_seconds"][phase] > 0 for phase in ("prepare", "train", "validate"))
    assert cache.cache.place == "memory" and "forward" not in vars(module.net)


def test_frozen_is_frozen_in_parameters_statistics_and_mode(base):
    modes = []
    note = LambdaCallback(
        on_train_batch_start=lambda trainer, module, *_: modes.append([m.training for m in module.net.modules()])
    )
    freeze = BlockFreezeCallback(blocks=["block3"])
    module = fit(base, note, freeze, rate=0.2)
    names = {key.split(".")[0] for key in changed(module, base)}
    assert names == {"downer", "three"}
    training = {name for (name, _), mode in zip(module.net.named_modules(), modes[-1], strict=True) if mode}
    assert {name.split(".")[0] for name in training} == names
    assert all(mode == modes[0] for mode in modes)


def test_statistics_are_those_of_their_training_images_and_then_held(base):
    data = TheirData(keyed=True)
    images = [batch["image"] for batch in data.train_dataloader()]
    freeze = BlockFreezeCallback(
        blocks=["fc"], statistics="refresh", examples=lambda: [{"image": x} for x in images], network="net"
    )
    module = fit(base, freeze, data=data)
    first = base.stem[0](torch.cat(images)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(module.net.stem[1].running_mean, first.mean(1), rtol=0.05, atol=0.02)
    norms = {key for key in base.state_dict() if "running" in key or "tracked" in key}
    assert changed(module, base) == norms | {"logits.weight", "logits.bias"}


def count(net):
    """Images that pass the first convolution."""
    seen = []
    net.stem[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    return seen


class Counted(TheirModule):
    def __init__(self, net, rate):
        super().__init__(net, rate)
        self.seen = count(net)


@pytest.mark.parametrize("limit", [512, 0.01], ids=["memory", "disk"])
def test_the_prefix_runs_once_an_image_and_the_weights_are_those_of_an_uncached_run(base, tmp_path, limit):
    results = []
    for enabled in (True, False):
        freeze = BlockFreezeCallback(blocks=["block3"])
        cache = FeatureCacheCallback(freeze, FeatureCache(enabled=enabled, memory_limit=limit))
        start = LambdaCallback(on_train_start=lambda trainer, module: module.seen.clear())
        results.append(fit(base, start, cache, freeze, kind=Counted, epochs=4, default_root_dir=tmp_path))
        assert cache.cache.place == (("memory" if limit > 1 else "disk") if enabled else "none")
    cached, plain = results
    assert sum(plain.seen) == 4 * (96 + 48)
    assert sum(cached.seen) == 96 + 48 + 2 * 2  # and two images twice, to see that the prefix repeats itself
    for key, value in plain.net.state_dict().items():
        torch.testing.assert_close(cached.net.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_whole_network(base):
    gradients = []
    note = LambdaCallback(
        on_after_backward=lambda trainer, module: gradients.append([p.grad for p in module.net.parameters()])
    )
    for enabled in (True, False):
        freeze = BlockFreezeCallback(blocks=["block2"])
        fit(base, freeze, FeatureCacheCallback(freeze, FeatureCache(enabled=enabled)), note, epochs=1, max_steps=1)
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


class Wakes(TheirModule):
    """Puts its whole network into training mode, as some recipes do."""

    def on_train_epoch_start(self):
        self.net.train()


DOES_NOT_PAY = {
    "augmented": "augmented",
    "no room": "no room",
    "batch statistics": "batch statistics",
    "training mode": "training mode",
    "first block": None,
}


@pytest.mark.parametrize("why", DOES_NOT_PAY)
def test_a_cache_that_cannot_pay_says_so_once_and_the_network_runs_whole(base, caplog, why):
    caplog.set_level("INFO", "tbft")
    freeze = BlockFreezeCallback(
        blocks=["block1" if why == "first block" else "fc"],
        statistics="batch" if why == "batch statistics" else "source",
    )
    limits = {"memory_limit": 0, "disk_limit": 0} if why == "no room" else {}
    cache, kind = FeatureCacheCallback(freeze, FeatureCache(**limits)), Wakes if why == "training mode" else TheirModule
    whole = []
    note = LambdaCallback(on_train_epoch_start=lambda trainer, module: whole.append("forward" not in vars(module.net)))
    fit(base, freeze, cache, note, data=TheirData(noisy=why == "augmented"), kind=kind)
    assert whole[-1] and cache.cache.place == "none"
    said = [r.message for r in caplog.records if "cached" in r.message or "every epoch" in r.message]
    assert len(said) == (why != "first block") and all(DOES_NOT_PAY[why] in words for words in said)


def test_a_fit_that_fails_leaves_their_network_as_it_was(base):
    def fail(trainer, module, *args):
        assert "forward" in vars(module.net)
        raise RuntimeError("theirs")

    freeze = BlockFreezeCallback(blocks=["fc"])
    module = TheirModule(deepcopy(base))
    callbacks = [freeze, FeatureCacheCallback(freeze), KeepBestCallback(), LambdaCallback(on_train_batch_end=fail)]
    with pytest.raises(RuntimeError, match="theirs"):
        bare_trainer(max_epochs=1, callbacks=callbacks).fit(module, datamodule=TheirData())
    assert "forward" not in vars(module.net) and not module.net._forward_hooks


def test_a_copy_that_is_made_during_the_fit_is_a_network_of_its_own(base):
    copies = []
    freeze = BlockFreezeCallback(blocks=["fc"])
    note = LambdaCallback(on_train_batch_end=lambda trainer, module, *_: copies.append(deepcopy(module.net)))
    fit(base, freeze, FeatureCacheCallback(freeze), note, epochs=1, max_steps=1)
    images = torch.ones((2, 1, 16, 16))
    with torch.no_grad():
        before = copies[0](images)
        copies[0].logits.bias += 1
        torch.testing.assert_close(copies[0](images), before + 1)


@pytest.mark.parametrize("monitor", [{}, {"monitor": "their_accuracy", "mode": "max"}], ids=["ours", "theirs"])
def test_training_that_harms_leaves_the_base(base, monitor):
    keep = KeepBestCallback(**monitor)
    module = fit(base, BlockFreezeCallback(blocks=["all"]), keep, rate=50.0, data=TheirData(drifted=False))
    assert keep.kept == "base" and keep.reason and not changed(module, base)


def test_the_base_is_scored_by_their_metric_before_its_statistics_change(base):
    keep = KeepBestCallback(monitor="their_accuracy", mode="max")
    module = fit(base, keep, BlockFreezeCallback(blocks=["fc"], statistics="refresh"))
    images = TheirImages(48, drifted=True, seed=2, keyed=False)
    with torch.no_grad():
        assert keep.base.value == pytest.approx((base(images.x).argmax(1) == images.y).float().mean().item())
        kept = (module.net.eval()(images.x).argmax(1) == images.y).float().mean().item()
    assert keep.kept == "adapted" and keep.best.value == pytest.approx(kept)


def test_a_resumed_fit_decides_as_one_that_was_not_interrupted(base, tmp_path):
    def callbacks():
        freeze = BlockFreezeCallback(blocks=["block3"], statistics="refresh")
        return freeze, FeatureCacheCallback(freeze), KeepBestCallback()

    whole, *others = callbacks()
    fit(base, whole, *others, epochs=2)
    saved = LambdaCallback(on_train_epoch_end=lambda trainer, module: trainer.save_checkpoint(tmp_path / "last.ckpt"))
    fit(base, *callbacks(), saved, epochs=1)
    module, resumed = TheirModule(SmallNet()), callbacks()
    trainer = bare_trainer(max_epochs=2, callbacks=[*resumed])
    trainer.fit(module, datamodule=TheirData(), ckpt_path=tmp_path / "last.ckpt")
    assert resumed[2].kept == others[1].kept == "adapted"
    assert torch.equal(resumed[2].base.right, others[1].base.right)
    torch.testing.assert_close(module.net.stem[1].running_mean, whole.chain.network.stem[1].running_mean)


def test_a_base_that_cannot_be_validated_is_refused(base):
    nothing = DataLoader(TheirImages(0, drifted=True, seed=2, keyed=False))
    trainer = bare_trainer(max_epochs=1, callbacks=[KeepBestCallback()])
    with pytest.raises(BadInput, match="not validated before training"):
        trainer.fit(TheirModule(deepcopy(base)), TheirData().train_dataloader(), nothing)


def test_a_network_that_got_another_head_is_cut_anew(base):
    freeze = [BlockFreezeCallback(blocks=["fc"]) for _ in range(2)]
    module = fit(base, freeze[0], epochs=1)
    module.net.logits = nn.Linear(16, 3)
    before = module.net.logits.weight.clone()
    bare_trainer(max_epochs=1, callbacks=[freeze[1]]).fit(module, datamodule=TheirData())
    assert freeze[1].chain is not freeze[0].chain and not torch.equal(module.net.logits.weight, before)


class OneModule(TheirModule):
    """The module is the network."""

    net = property(lambda self: self)

    def __init__(self):
        LightningModule.__init__(self)
        self.rate = 0.05
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU())
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        return self.last(self.second(self.first(x)).mean((2, 3)))


def test_a_module_that_is_the_network_itself_says_so_with_an_empty_name():
    module = OneModule()
    freeze = BlockFreezeCallback("output", network="")
    keep = KeepBestCallback(network="", monitor="their_accuracy", mode="max")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    cache = FeatureCacheCallback(freeze)
    bare_trainer(max_epochs=2, callbacks=[keep, freeze, cache]).fit(module, datamodule=TheirData())
    assert cache.cache.place == "memory"
    after = module.state_dict()
    assert {key for key in after if not torch.equal(after[key], before[key])} <= {"last.weight", "last.bias"}
    assert [name for name, p in module.named_parameters() if p.requires_grad] == ["last.weight", "last.bias"]


def test_a_cache_that_is_filled_before_our_base_is_scored_is_refused():
    from tbft.data import Digits
    from tbft.module import ImageClassifier

    freeze = BlockFreezeCallback(blocks=["fc"])
    trainer = bare_trainer(max_epochs=1, callbacks=[freeze, FeatureCacheCallback(freeze), KeepBestCallback()])
    with pytest.raises(BadInput, match="list KeepBestCallback first"):
        trainer.fit(ImageClassifier(base="digits"), datamodule=Digits(train_size=100, image_size=16))


def test_a_budget_ends_their_training(base, monkeypatch):
    steps = itertools.count()
    energy = EnergyCallback(codecarbon=False, budget_joules=5)
    monkeypatch.setattr(energy, "spent", lambda: (next(steps), 0.0))
    trainer = bare_trainer(max_epochs=50, callbacks=[energy])
    trainer.fit(TheirModule(deepcopy(base)), datamodule=TheirData())
    assert trainer.global_step <= 6 and energy.finish()["stopped_by"] == "budget_joules"


def test_relative_gradient_norms_weigh_their_tensors(base):
    weights = RelativeGradientNormCallback()
    module = fit(deepcopy(base).train(), weights, data=TheirData(keyed=True), epochs=1)
    assert max(weights.weights.values()) == 1
    parameters = {name for name, _ in module.net.named_parameters()}
    assert {"down.weight", "logits.weight"} <= changed(module, base) & parameters <= set(weights.weights)
    assert not {"stem.1.weight", "one.norm.bias"} & set(weights.weights)


class TwoNetworks(TheirModule):
    def __init__(self, net, rate=0.05):
        super().__init__(net, rate)
        self.teacher = nn.Linear(2, 2)


def freezing(**options):
    return TheirModule(SmallNet()), BlockFreezeCallback(**options)


REFUSED = {
    "two networks": (lambda: (TwoNetworks(SmallNet()), BlockFreezeCallback("feature")), "'net', 'teacher'"),
    "no such network": (lambda: freezing(level="feature", network="nest"), "choose one of its children"),
    "no level": (freezing, "drift level is not known"),
    "also trains": (lambda: (TwoNetworks(SmallNet()), KeepBestCallback(network="net")), "teacher.weight trains too"),
    "no such metric": (
        lambda: (TheirModule(SmallNet()), KeepBestCallback(monitor="val", mode="min")),
        "before training (its sanity check): their_accuracy",
    ),
    "cache alone": (
        lambda: (TheirModule(SmallNet()), FeatureCacheCallback(BlockFreezeCallback("output"))),
        "among the trainer's callbacks",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(case):
    make, words = REFUSED[case]
    module, callback = make()
    with pytest.raises(BadInput) as caught:
        bare_trainer(max_epochs=1, callbacks=[callback]).fit(module, datamodule=TheirData())
    assert words in str(caught.value) and "\n" not in str(caught.value)


def nested(rows):
    x, y, _ = zip(*rows, strict=True)
    return "theirs", {"pixels": torch.stack(x), "meaning": torch.stack(y)}


class Nested(TheirModule):
    def parts(self, batch):
        return batch[1]["pixels"], batch[1]["meaning"]


def test_batches_of_any_kind_are_read_by_their_own_functions(base):
    loader = DataLoader(TheirImages(48, drifted=True, seed=1, keyed=False), batch_size=24, collate_fn=nested)
    given = {"images": lambda batch: batch[1]["pixels"]}, {"labels": lambda batch: batch[1]["meaning"]}
    for images, labels in (({}, given[1]), (given[0], {}), given):
        freeze, keep = BlockFreezeCallback("output", statistics="refresh", **images), KeepBestCallback(**labels)
        trainer = bare_trainer(max_epochs=1, callbacks=[freeze, keep])
        with nullcontext() if images and labels else pytest.raises(BadInput, match="a function of a batch"):
            trainer.fit(Nested(deepcopy(base)), loader, loader)
    assert keep.best is not None


class Endless(IterableDataset):
    def __iter__(self):
        return itertools.cycle(TheirImages(96, drifted=True, seed=1, keyed=False))


def test_batches_without_an_end_need_a_number_of_images_for_statistics(base):
    for number, refused in ((None, True), (40, False)):
        freeze = BlockFreezeCallback("output", statistics="refresh", statistics_images=number)
        trainer = bare_trainer(max_steps=2, callbacks=[freeze])
        with pytest.raises(BadInput, match="no known end") if refused else nullcontext():
            trainer.fit(TheirModule(deepcopy(base)), DataLoader(Endless(), batch_size=16))


def test_validation_in_another_order_is_refused(base):
    loader = DataLoader(TheirImages(48, drifted=True, seed=2, keyed=False), batch_size=24, shuffle=True)
    module = TheirModule(deepcopy(base))
    with pytest.raises(BadInput, match="do not shuffle"):
        bare_trainer(max_epochs=1, callbacks=[KeepBestCallback()]).fit(module, loader, loader)


def test_a_monitor_without_a_mode_is_refused():
    with pytest.raises(BadInput, match="give both"):
        KeepBestCallback(monitor="their_accuracy")
