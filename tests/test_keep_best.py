"""What is kept is never worse than the base model, and adapted weights are kept on evidence."""

import math

import pytest
import torch
from bare_trainer import bare_trainer
from lightning.pytorch.callbacks import LambdaCallback

from tbft.callbacks import BlockFreezeCallback, KeepBestCallback
from tbft.data import Digits
from tbft.models import read_weights
from tbft.module import ImageClassifier
from tbft.remedies.validated import Score, reason_to_keep_base


def score(loss, *right):
    return Score(loss, torch.tensor(right, dtype=torch.bool))


def fit(tmp_path, rates, **network):
    """Train the head on data that did not drift, an epoch at each learning rate; give the module and what was kept."""
    module = ImageClassifier(**network, schedule="constant", optimizer=lambda p: torch.optim.SGD(p, lr=0.1))

    def choose_rate(trainer, module):
        trainer.optimizers[0].param_groups[0]["lr"] = rates[trainer.current_epoch]

    keep = KeepBestCallback()
    trainer = bare_trainer(
        callbacks=[keep, BlockFreezeCallback(blocks=["fc"]), LambdaCallback(on_train_epoch_start=choose_rate)],
        default_root_dir=tmp_path,
        max_epochs=len(rates),
    )
    trainer.fit(module, datamodule=Digits(train_size=200, test_size=0, image_size=16))
    return module, keep


def test_a_best_epoch_that_changed_nothing_leaves_the_weights_from_before_and_not_a_later_epochs(tmp_path):
    torch.manual_seed(0)
    network = {"architecture": "resnet8", "num_classes": 10, "image_size": 16}  # no base, which would be kept anyway
    module, keep = fit(tmp_path, rates=[0.0, 1000.0], **network)
    assert not keep.best_weights
    assert all(torch.equal(value, keep.base_weights[key]) for key, value in module.model.state_dict().items())


def test_where_adapting_changes_nothing_the_base_is_kept(tmp_path):
    module, keep = fit(tmp_path, rates=[0.0, 10.0], base="digits")
    base = read_weights("digits").weights
    assert keep.kept == "base" and keep.reason
    assert all(torch.equal(value, base[key]) for key, value in module.model.state_dict().items())


def test_validation_in_the_fit_counts_the_images_that_scoring_the_base_counts(tmp_path):
    _, keep = fit(tmp_path, rates=[0.0], base="digits")
    assert torch.equal(keep.base.right, keep.best.right)
    assert keep.base.accuracy == keep.best.accuracy == keep.base.correct / 20


def test_accuracies_in_a_record_are_whole_images(run):
    code, record = run("fit", "--config", "feature.yaml", "--data.test_size", "49", "--trainer.max_epochs", "1")
    accuracy = record["accuracy"]
    assert code == 0 and record["curve"][0]["validation_accuracy"] == accuracy["validation"]
    for name, images in {"base": 49, "test": 49, "validation": 30, "base_validation": 30}.items():
        assert accuracy[name] == round(accuracy[name] * images) / images


def test_what_travels_in_the_checkpoint_is_what_was_scored(tmp_path):
    keep, resumed = KeepBestCallback(), KeepBestCallback()
    keep.base, keep.best = score(0.5, 1, 0, 1), score(0.25, 1, 1, 1)
    torch.save(keep.state_dict(), tmp_path / "state")
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for ours, theirs in ((resumed.base, keep.base), (resumed.best, keep.best)):
        assert ours.loss == theirs.loss and torch.equal(ours.right, theirs.right)


def test_a_tie_in_images_is_decided_by_the_loss_and_in_doubt_the_base_stays():
    for images in range(1, 50):
        for correct in range(images + 1):
            right = [i < correct for i in range(images)]
            assert reason_to_keep_base(score(0.5, *right), score(0.4, *right)) is None
            assert "no lower" in reason_to_keep_base(score(0.5, *right), score(0.6, *right))
            assert "nothing changed" in reason_to_keep_base(score(0.5, *right), score(0.5, *right))


def test_fewer_images_right_keep_the_base_whatever_the_loss():
    reason = reason_to_keep_base(score(0.9, 1, 1, 0, 1), score(0.1, 1, 0, 0, 1))
    assert reason.startswith("2 of 4 validation images are right, 3 with the base")


def test_more_images_right_need_a_lower_loss_or_more_than_chance():
    before = [0] * 4 + [1] * 6
    for gained, kept in ((3, False), (4, True)):  # 1 in 8, and 1 in 16
        after = [1] * gained + before[gained:]
        assert (reason_to_keep_base(score(0.4, *before), score(0.5, *after)) is None) is kept
        assert reason_to_keep_base(score(0.4, *before), score(0.3, *after)) is None


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_diverged_weights_are_named(loss):
    assert "diverged" in reason_to_keep_base(score(0.5, 0), score(loss, 1))
