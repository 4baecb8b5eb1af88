"""The source card travels in the base model's file, and is refused where it is not of this model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tbft
from tbft.adaptation.align import measure_moments
from tbft.adaptation.source_card import head_of, measure_source_card
from tbft.data.batches import Examples
from tbft.data.digits import Digits
from tbft.errors import BadInput
from tbft.models import build, read_weights, save_weights
from tbft.models.classifier import PlainClassifier
from tbft.models.source_card import card_from_text, card_to_text
from tbft.remedies import Moments, SourceCard, measure_card


@pytest.fixture(scope="module")
def classifier():
    found = PlainClassifier()
    found.load("digits")
    found.describe_images(None, None)
    return found


def test_what_is_written_is_read_again():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(900, 6)), rng.integers(0, 3, 900)
    from tbft.remedies import Head

    card = measure_card(features, labels, Head(rng.normal(size=(3, 6)), np.zeros(3)))
    card = replace(card, moments=Moments(rng.normal(size=9), np.cov(rng.normal(size=(9, 40))), 3))
    read = card_from_text(Path("base"), card_to_text(card), 3)
    assert (read.images, read.temperature, read.moments.neighbourhood) == (900, card.temperature, 3)
    for name in ("accuracy", "prior", "confusion", "class_means", "covariance"):
        np.testing.assert_allclose(getattr(read, name), getattr(card, name), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(read.moments.covariance, card.moments.covariance, rtol=1e-6)
    levels = np.linspace(0.05, 0.95, 7)
    np.testing.assert_allclose(np.quantile(read.confidences, levels), np.quantile(card.confidences, levels), atol=3e-3)


@pytest.mark.parametrize("name", ["digits", "digits_superclasses"])
def test_the_bases_that_ship_have_a_card_of_their_own(name):
    base = read_weights(name)
    assert 0.9 < base.card.accuracy < 1 and base.card.images >= 250
    assert base.card.prior.sum() == pytest.approx(1) and len(base.card.prior) == len(base.classes)
    assert base.card.moments.mean.shape == (144,) and len(card_to_text(base.card)) < 100_000


def test_the_card_is_measured_on_images_that_did_not_train(classifier):
    data = Digits(domain="source", image_size=16)
    data.setup()
    card = measure_source_card(classifier, data)
    shipped = classifier.base.card
    assert card.images == len(data.val) + len(data.test) and card.accuracy == pytest.approx(shipped.accuracy)
    np.testing.assert_allclose(card.moments.mean, shipped.moments.mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(card.prior, np.bincount(data.train.y) / len(data.train), atol=1e-7)


def test_drifted_images_make_no_card(classifier):
    data = Digits(corruption="contrast", image_size=16, train_size=50)
    data.setup()
    with pytest.raises(BadInput, match=r"these images drifted \(contrast\)"):
        measure_source_card(classifier, data)


def test_a_file_with_a_card_holds_the_same_weights(tmp_path, classifier):
    card = SourceCard(accuracy=0.5, images=10)
    save_weights(classifier.model, tmp_path / "base.safetensors", classifier.classes, card=card)
    read = read_weights(str(tmp_path / "base.safetensors"))
    assert (read.card.accuracy, read.card.images, read.card.moments) == (0.5, 10, None)
    assert all(torch.equal(value, read.weights[key]) for key, value in classifier.base.weights.items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda said: said | {"version": 99}, "of version 99"),
        (lambda said: said | {"accuracy": 7}, "accuracy is 7"),
        (lambda said: said | {"accuracy": float("nan")}, "accuracy is nan"),
        (lambda said: said | {"prior": {"shape": [3], "fp32": "AAAA"}}, "damaged"),
        (lambda said: said | {"prior": said["confusion"]}, "its prior has the shape .10, 10. and not .10."),
        (lambda said: said | {"moments_covariance": said["prior"]}, "damaged|moments"),
        (lambda said: [said], "damaged"),
        (lambda said: {}, "damaged"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused_in_one_sentence(classifier, change, says):
    said = change(json.loads(card_to_text(classifier.base.card)))
    with pytest.raises(BadInput, match=f"base.safetensors has a source card.*{says}.*tbft card"):
        card_from_text(Path("base.safetensors"), json.dumps(said), 10)


def test_the_longest_moments_that_are_measured_are_written(tmp_path):
    network = build("resnet26", num_classes=4, image_size=16, width=24)  # 24 channels in neighbourhoods of 3 x 3
    classifier = PlainClassifier()
    classifier.model = network
    images = Examples(torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    classifier.describe_images(None, None)
    moments = measure_moments(classifier, images)
    card = SourceCard(accuracy=0.5, images=20, moments=moments)
    save_weights(network, tmp_path / "base.safetensors", ("a", "b", "c", "d"), card=card)
    read = read_weights(str(tmp_path / "base.safetensors")).card
    assert read.moments.mean.shape == (24 * 9,)
    np.testing.assert_allclose(read.moments.covariance, moments.covariance, rtol=1e-5, atol=1e-6)


def test_what_is_too_large_for_a_card_is_left_out():
    card = SourceCard(accuracy=0.7, confusion=np.eye(1000), prior=np.full(1000, 1e-3))
    read = card_from_text(Path("base"), card_to_text(card), 1000)
    assert read.confusion is None and len(read.prior) == 1000


def test_the_card_goes_with_the_base_models_weights_and_with_no_others(tmp_path, classifier):
    tbft.load("digits").save(tmp_path / "copy.safetensors")
    assert read_weights(str(tmp_path / "copy.safetensors")).card.images == classifier.base.card.images


def test_training_a_base_model_measures_its_card(run):
    shape = ("--model.width", "4", "--data.train_size", "120", "--trainer.max_epochs", "1")
    code, _ = run("fit", "--config", "base/digits.yaml", *shape)
    assert code == 0
    card = read_weights("runs/run/model.safetensors").card
    assert card.images == 12 + 779 and card.moments is not None


def test_a_command_adds_a_card(run, capsys, tmp_path, classifier):
    save_weights(classifier.model, tmp_path / "plain.safetensors", classifier.classes)
    given = ("--model.base", "plain.safetensors", "--config", "base/digits.yaml")
    assert run("card", *given, "--to", "own.pt")[0] == 2
    assert "safetensors" in capsys.readouterr().err
    assert run("card", *given)[0] == 2
    assert run("card", *given, "--to", "base.safetensors")[0] == 0
    assert "252 images" in capsys.readouterr().out
    assert read_weights("base.safetensors").card.accuracy == pytest.approx(classifier.base.card.accuracy)


def test_a_head_without_a_bias_has_one_of_zeros(classifier):
    head = head_of(classifier)
    assert head.weight.shape == (10, 64) and np.any(head.bias)
