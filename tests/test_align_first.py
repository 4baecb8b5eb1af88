"""A named input level: the front block is aligned without labels first, where a card tells of the source."""

from pathlib import Path

import pytest
import torch
from foreign_project import SmallNet, TheirData, TheirModule
from lightning.pytorch import Trainer
from safetensors.torch import load_file

import tbft
from tbft.adaptation.climb import Climb
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.feature_cache import FeatureCache
from tbft.adaptation.freezing import BlockFreeze
from tbft.callbacks import BlockFreezeCallback
from tbft.data import Digits
from tbft.energy.run_meter import RunMeter
from tbft.errors import BadInput
from tbft.models import save_weights
from tbft.models.classifier import PlainClassifier
from tbft.remedies.aligned import LONG_EPOCH
from tbft.remedies.race import RACE_EPOCHS
from tbft.training.climbing import train_in_loop_from

FIT = ("fit", "--config", "input.yaml", "--energy.codecarbon", "false", "--run.test", "false")


def digits(images, seed=0):
    data = Digits(image_size=16, corruption="contrast", train_size=images, seed=seed)
    data.setup()
    return data, torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])


def accuracy(better, data):
    labels = torch.tensor([found.label for found in better.predict(data.test.x)])
    return float((labels == data.test.y).float().mean())


@pytest.fixture
def without_card(tmp_path):
    """The shipped base model in a file that does not tell of its source."""
    classifier, file = PlainClassifier(), tmp_path / "plain.safetensors"
    classifier.load("digits")
    classifier.describe_images(None, None)
    save_weights(classifier.model, file, classifier.classes, mean=classifier.mean, std=classifier.std)
    return file


@pytest.mark.numbers
def test_an_aligned_start_wins_where_labels_are_few():
    gains = []
    for seed in range(3):
        data, x, y = digits(100, seed)
        found = [
            accuracy(tbft.personalize("digits", x, y, level="input", seed=seed, **{"freeze.align": how}), data)
            for how in ("with_card", "never")
        ]
        gains.append(found[0] - found[1])
    assert sum(gains) / 3 > 0.01, gains


def test_aligning_takes_the_place_of_an_epoch_where_epochs_are_long(without_card):
    for images, epochs in ((LONG_EPOCH // 2, 2), (LONG_EPOCH * 6 // 5, 1)):
        _, x, y = digits(images)  # a tenth of which validates
        better = tbft.personalize("digits", x, y, level="input")
        assert better.record.as_dict["aligned"] and better.record.epochs == epochs
        assert "block1, aligned with the source first" in str(better)
        for chosen in (1, 2):  # a length that somebody gives is kept
            kept = tbft.personalize("digits", x, y, level="input", **{"trainer.max_epochs": chosen})
            assert kept.record.as_dict["aligned"] and kept.record.epochs == chosen
    plain = tbft.personalize(without_card, x, y, level="input")
    asked = tbft.personalize("digits", x, y, level="input", **{"freeze.align": "never"})
    for better in (plain, asked):
        assert not better.record.as_dict["aligned"] and better.record.epochs == 2
        assert "aligned" not in str(better)
    ours, theirs = plain.model.state_dict(), asked.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "options",
    [
        ("--freeze.blocks", "[block2]"),
        ("--config", "strategy/tuned-full-input.yaml", "--trainer.max_epochs", "1"),
        ("--freeze.blocks", "[all]", "--freeze.statistics_images", "null", "--trainer.max_epochs", "1"),
        ("--freeze.statistics", "source"),
        ("--trainer.max_epochs", "0"),
        ("--data.domain", "source", "--data.corruption", "null", "--trainer.max_epochs", "1"),
    ],
    ids=" ".join,
)
def test_only_a_front_block_that_trains_on_new_statistics_is_aligned(run, options):
    code, record = run(*FIT, *options)
    assert code == 0 and not record["aligned"]


def test_a_front_block_among_others_is_aligned_if_somebody_asks_for_it(run):
    code, record = run(*FIT, "--freeze.blocks", "[all]", "--trainer.max_epochs", "1")
    assert code == 0 and record["aligned"] and record["blocks"] == ["block1", "block2", "block3", "fc"]


def test_frozen_blocks_stay_as_they_are(run):
    code, record = run(*FIT)
    assert code == 0 and record["aligned"] and record["blocks"] == ["block1"]
    base = load_file(Path(tbft.__file__).parent / "models/weights/digits.safetensors")
    kept = load_file("runs/run/model.safetensors")
    changed = {key for key, value in kept.items() if not torch.equal(value, base[key])}
    assert changed and all(key.startswith(("conv1", "layer1")) or "running" in key or "num" in key for key in changed)


def test_a_run_is_as_long_as_somebody_says(run):
    long = ("--data.train_size", str(LONG_EPOCH * 6 // 5))
    assert run(*FIT, *long)[1]["epochs"] == 1
    code, record = run(*FIT, *long, "--trainer.max_epochs", "2", "--ckpt_path", "last")
    assert code == 0 and record["aligned"] and record["epochs"] == 2
    assert "align: with_card" in Path("runs/run/config.yaml").read_text()
    again = run("fit", "--config", "runs/run/config.yaml", name="again")[1]
    assert again["aligned"] and again["epochs"] == 2
    said = run(*FIT, *long, "--trainer.max_epochs", "3", "--freeze.align", "for_an_epoch", name="said")[1]
    assert said["epochs"] == 2


def test_a_run_that_goes_on_does_not_align_again(run):
    for epochs in ("2", "4"):
        code, record = run(*FIT, "--trainer.max_epochs", epochs, "--ckpt_path", "last")
        assert code == 0 and record["aligned"] and record["epochs"] == int(epochs)
    apart = run(*FIT, "--trainer.max_epochs", "4", name="apart")[1]
    assert [point["step"] for point in record["curve"]] == [point["step"] for point in apart["curve"]]


@pytest.mark.parametrize(("level", "epochs"), [("input", (2, 1)), ("feature", (4, 4))])
def test_a_climb_that_has_aligned_trains_the_front_block_for_an_epoch_less(level, epochs):
    for aligned, expected in zip((False, True), epochs, strict=True):
        data, *_ = digits(LONG_EPOCH * 6 // 5)
        classifier = PlainClassifier()
        classifier.load("digits")
        classifier.describe_images(None, None)
        meter = RunMeter(codecarbon=False, plot=False)
        climb = Climb(classifier, data, BlockFreeze(), ClosedFormHead(), FeatureCache(), meter)
        with climb.preparing():
            climb.aligned = aligned
        assert train_in_loop_from(climb, level, None).is_complete
        assert climb.progress.epochs == expected
        raced = train_in_loop_from(climb, level, RACE_EPOCHS)
        assert climb.progress.epochs == expected + min(expected, RACE_EPOCHS)
        assert raced.is_complete == (expected <= RACE_EPOCHS)
        meter.finish()


def test_what_nobody_can_align_is_refused(tmp_path, capsys, run):
    trainer = Trainer(
        max_epochs=1,
        callbacks=[BlockFreezeCallback("input", statistics="refresh", align="with_card")],
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    with pytest.raises(BadInput, match="align='with_card' needs"):
        trainer.fit(TheirModule(SmallNet()), TheirData())
    assert run("fit", "--config", "auto.yaml", "--freeze.align", "with_card")[0] == 2
    assert "freeze.align is with_card and ladder.climb chooses" in capsys.readouterr().err
