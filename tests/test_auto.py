"""Nobody names the drift: digits drift in several ways, and each gets what it needs and no more."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tbft
from tbft.data.digits import Digits
from tbft.errors import BadInput
from tbft.models import read_weights, save_weights
from tbft.models.classifier import PlainClassifier
from tbft.options.recipe import recipe_of
from tbft.remedies.race import SMALL_EPOCHS

torch.set_num_threads(1)

SMALL = "strategy/tuned-full-small.yaml"


def device(images=200, seed=0, test=290, **drift):
    """A device's images and labels, and others to test on."""
    data = Digits(image_size=16, train_size=images, test_size=test, seed=seed, **drift)
    data.setup()
    return torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y]), data.test


def accuracy(model, test):
    return float(np.mean(np.array([row.label for row in model.predict(test.x)]) == test.y.numpy()))


def accepted(personalized):
    return {name for step in personalized.record.as_dict["remedies"] if step["accepted"] for name in step["remedies"]}


@pytest.mark.parametrize(
    ("drift", "levels", "remedies", "least"),
    [
        ({"label_map": "flip"}, {"output"}, {"relabel"}, 0.94),
        ({"corruption": "contrast", "label_map": "flip"}, {"input", "output"}, {"refresh", "align"}, 0.85),
        ({"task": "superclasses"}, {"feature"}, {"head"}, 0.85),
    ],
)
def test_each_drift_is_found_and_the_accuracy_comes_back(drift, levels, remedies, least):
    x, y, test = device(**drift)
    base = "digits_superclasses" if "task" in drift else "digits"
    better = tbft.personalize(base, x, y, **{"ladder.train": False})
    record = better.record.as_dict
    assert levels <= set(record["drift"]["diagnosed"]) and remedies <= accepted(better)
    assert better.kept == "adapted" and record["strategy"] == "auto" and better.blocks
    found = accuracy(better, test)
    assert found > least and abs(found - better.accuracy) < 0.12


def test_without_drift_nothing_changes():
    x, y, _ = device(100)
    same = tbft.personalize("digits", x, y)
    assert (same.kept, same.record.as_dict["drift"]["diagnosed"], same.blocks) == ("base", [], ())
    own = read_weights("digits").weights
    assert all(torch.equal(value, own[key]) for key, value in same.model.state_dict().items() if key in own)
    assert "nothing in the sample shows drift" in same.record.kept_reason


def test_other_class_shares_are_found_and_do_no_harm():
    x, y, test = device(600)
    rng, share = np.random.default_rng(1), 10.0 ** (-np.arange(10) / 9)
    kept, left = (torch.from_numpy(rng.random(len(labels)) < share[labels.numpy()]) for labels in (y, test.y))
    better = tbft.personalize("digits", x[kept], y[kept])
    assert "prior" in better.record.as_dict["drift"]["diagnosed"]
    before = accuracy(tbft.load("digits"), test.subset(left.nonzero().flatten().tolist()))
    assert accuracy(better, test.subset(left.nonzero().flatten().tolist())) >= before - 0.01


@pytest.fixture
def large(monkeypatch):
    """Digits' network counts as one that is dear to train."""
    monkeypatch.setattr("tbft.remedies.race.CHEAP", 0.0)


def test_a_block_is_trained_only_on_evidence(large):
    x, y, test = device(200, corruption="contrast")
    trained = tbft.personalize("digits", x, y)
    assert {"refresh", "align"} <= accepted(trained) and accuracy(trained, test) > 0.85
    steps = [step for step in trained.record.as_dict["remedies"] if step["cost"] is None]
    raced = {step["remedies"][0]: step["reason"] for step in steps if "race" in step["reason"]}
    assert {"input block", "full"} <= set(raced) and trained.record.steps > 0
    (finished,) = (step for step in steps if step["remedies"][0] in raced and "race" not in step["reason"])
    assert "right" in finished["reason"]  # which says by how many validation images
    assert (finished["cpu_seconds"] < 0.01) == (finished["remedies"] == ["input block"])  # whose recipe ran in the race
    still = tbft.personalize("digits", x, y, **{"ladder.train": False})
    assert still.record.steps == 0 and "align" in accepted(still)
    reached = tbft.personalize("digits", x, y, **{"ladder.target_accuracy": 0.5})
    assert reached.record.steps == 0 and "align" not in accepted(reached)


@pytest.mark.parametrize("drift", [{"corruption": "contrast"}, {"task": "superclasses"}])
def test_all_of_a_small_network_is_trained_with_neither_race_nor_alignment(drift):
    x, y, test = device(300, seed=1, **drift)
    better = tbft.personalize("digits_superclasses" if "task" in drift else "digits", x, y)
    told = [step["remedies"] for step in better.record.as_dict["remedies"] if step["cost"] is None]
    assert told == [["full"]]
    assert better.record.epochs == SMALL_EPOCHS == recipe_of("feature", SMALL, {})["trainer"]["max_epochs"]
    assert accuracy(better, test) > 0.93


def test_where_a_small_network_trained_in_vain_the_climb_goes_on(monkeypatch):
    x, y, _ = device(200, corruption="contrast")
    monkeypatch.setattr("tbft.adaptation.race.reason_to_keep_base", lambda base, adapted: "no evidence")
    better, still = (tbft.personalize("digits", x, y, **{"ladder.train": train}) for train in (True, False))
    assert better.record.steps > 0 and "full" not in accepted(better) and "refresh" in accepted(better)
    weights = still.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in better.model.state_dict().items())


def test_where_a_block_trained_in_vain_all_images_choose_the_head(monkeypatch, large):
    monkeypatch.setattr("tbft.adaptation.race.reason_to_keep_base", lambda base, adapted: "no evidence")
    x, y, test = device(500, corruption="fog")
    better = tbft.personalize("digits", x, y)
    record = better.record.as_dict
    assert record["diagnosis"]["images"] == 200 and record["epochs"] > 0
    *_, last = record["remedies"]
    assert last["reason"] == "chosen again, from all 500 images" and last["accepted"]
    assert last["remedies"][-1] == "head" and "the head is solved" in repr(better)
    few = tbft.personalize("digits", x[:200], y[:200], **{"ladder.train": False})
    assert accuracy(better, test) > accuracy(few, test)


def test_nothing_is_trained_on_labels_that_contradict_a_confident_model():
    x, y, test = device(200, label_noise=0.4)
    better = tbft.personalize("digits", x, y)
    assert better.record.steps == 0 and accuracy(better, test) > 0.93
    advice = better.record.as_dict["diagnosis"]["advice"]
    assert any(sentence.startswith("check the labels") for sentence in advice)


def test_without_labels_only_what_needs_none_is_tried():
    x, _, test = device(200, corruption="contrast")
    for images, remedies in ((device(200)[0], {"keep"}), (x, {"keep", "refresh", "align"})):
        found = tbft.personalize("digits", images)
        told = found.record.as_dict["diagnosis"]
        assert not told["labelled"] and accepted(found) == remedies
        assert "estimated on 200 images without labels" in repr(found)
    assert found.accuracy_before < 0.4 and accuracy(found, test) > 0.72


def test_without_a_card_labels_are_needed_and_what_is_missing_is_said(tmp_path):
    classifier = PlainClassifier()
    classifier.load("digits")
    save_weights(classifier.model, tmp_path / "plain.safetensors", classifier.classes)
    x, y, test = device(200, corruption="contrast")
    unlabelled = tbft.personalize(tmp_path / "plain.safetensors", x)
    assert unlabelled.kept == "base" and "source card" in unlabelled.record.kept_reason
    labelled = tbft.personalize(tmp_path / "plain.safetensors", x, y)
    assert accuracy(labelled, test) > 0.8 and "align" not in accepted(labelled)
    align = [step for step in labelled.record.as_dict["remedies"] if "align" in step["remedies"]]
    assert "source card" in align[0]["reason"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (lambda y: torch.zeros(50, dtype=torch.int64), "all 50 labels are of class 0"),
        (lambda y: torch.arange(4), "4 labels are fewer than the 10 classes"),
        (lambda y: torch.arange(1), "1 labels|fewer"),
        (lambda y: torch.from_numpy(np.random.default_rng(0).integers(0, 10, 150)), "no combination agrees"),
    ],
)
def test_labels_that_tell_nothing_keep_the_base_and_say_why(labels, says):
    x, y, _ = device(150)
    y = labels(y)
    kept = tbft.personalize("digits", x[: len(y)], y)
    assert kept.kept == "base" and kept.record.as_dict["diagnosis"]["verdict"] == "cannot tell"
    assert any(part in kept.record.kept_reason for part in says.split("|"))


def test_images_unlike_any_seen_keep_the_base():
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(0, 256, (60, 3, 16, 16)).astype(np.uint8))
    kept = tbft.personalize("digits", noise, rng.integers(0, 10, 60))
    assert kept.kept == "base" and kept.record.as_dict["diagnosis"]["verdict"] in ("cannot tell", "keep")


def test_no_image_and_a_named_level_beside_the_ladder_are_refused():
    with pytest.raises(BadInput, match="image"):
        tbft.personalize("digits", [], [])
    x, y, _ = device(50)
    with pytest.raises(BadInput, match=r"freeze\.statistics is batch and ladder\.climb"):
        tbft.personalize("digits", x, y, **{"freeze.statistics": "batch"})
    with pytest.raises(BadInput, match="no labels, which level='input' needs"):
        tbft.personalize("digits", x, level="input")


def test_a_folder_of_pictures_without_classes_has_no_labels(tmp_path):
    from PIL import Image

    for i, image in enumerate(device(30)[0]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i:02}.png")
    assert not tbft.personalize("digits", tmp_path).record.as_dict["diagnosis"]["labelled"]


def test_the_command_tells_the_same_story(run, capsys):
    code, record = run("fit", "--config", "auto.yaml", "--data.label_map", "flip", "--data.train_size", "200")
    assert code == 0 and record["strategy"] == "auto" and record["accuracy"]["test"] > 0.93
    assert record["accuracy"]["base"] < 0.1 and record["drift"]["diagnosed"] == ["output"]
    out = capsys.readouterr().out
    assert "drift at output level" in out and "done" in out and "next" in out
    assert record["train_size"] == record["diagnosis"]["images"] == 200
    assert json.loads(Path("runs/run/result.json").read_text())["remedies"][0]["remedies"] == ["keep"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--freeze.level", "input"], "freeze.level is input and ladder.climb"),
        (["--model.schedule", "cosine"], "model.learning_rates and model.schedule out"),
        (["--data.domain", "source"], "leave data.domain source out"),
        (["--ladder.target_accuracy", "2"], "ladder.target_accuracy is 2"),
    ],
)
def test_the_command_refuses_what_it_would_not_honour(run, capsys, args, says):
    assert run("fit", "--config", "auto.yaml", *args)[0] == 2
    assert says in capsys.readouterr().err


def test_too_few_labels_are_a_verdict_of_the_command_too(run, tmp_path):
    from PIL import Image

    code, record = run("fit", "--config", "auto.yaml", "--data.train_size", "6", name="few")
    assert (code, record["kept"], record["train_size"]) == (0, "base", 6)
    assert record["accuracy"]["test"] == record["accuracy"]["base"] > 0.9  # on all others
    few = ("--data.train_size", "6", "--data.test_size", "5000")
    assert run("fit", "--config", "auto.yaml", *few, name="none")[0] == 2
    assert "6 labels are fewer than the 10 classes" in record["kept_reason"]
    (tmp_path / "mine" / "3").mkdir(parents=True)
    for i, image in enumerate(device(12)[0]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "mine" / "3" / f"{i}.png")
    own = ("--config", "data/folder.yaml", "--data.root", "mine", "--data.test_size", "0")
    code, record = run("fit", "--config", "auto.yaml", *own, name="one")
    assert (code, record["kept"]) == (0, "base") and "are of class 3" in record["kept_reason"]


def test_lightning_is_not_imported_unless_something_is_trained_by_steps():
    code = (
        "import sys, torch, tbft\n"
        "x = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)\n"
        "tbft.personalize('digits', x, torch.arange(40) % 10)\n"
        "assert not [name for name in sys.modules if name.startswith(('lightning', 'torchmetrics'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_optimizer_beside_the_ladder_is_refused(run, capsys):
    code, _ = run("fit", "--config", "auto.yaml", "--model.optimizer.init_args.lr", "0.1")
    assert code == 2 and "leave model.optimizer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("drift", "train", "looked_at"),
    [
        ({"label_map": "flip"}, True, 200),  # the map is found, and nothing is left to gain
        ({"task": "superclasses"}, True, 200),  # a solved head reaches the source
        ({"imbalance": 10}, True, None),  # every label counts for the shares of the classes
    ],
)
def test_the_rest_of_a_sample_is_looked_at_only_where_it_can_decide_something(drift, train, looked_at):
    x, y, test = device(250 if "imbalance" in drift else 500, 0, 100, **drift)
    base = "digits_superclasses" if "task" in drift else "digits"
    better = tbft.personalize(base, x, y, **{"ladder.train": train})
    record = better.record.as_dict
    assert record["diagnosis"]["images"] == (looked_at or len(y)) and record["train_size"] == len(y)
    assert accuracy(better, test) > 0.88


def test_what_every_remedy_cost_is_in_the_record():
    x, y, _ = device(100, corruption="contrast")
    record = tbft.personalize("digits", x, y).record.as_dict
    spent = {"+".join(step["remedies"]): step["cpu_seconds"] for step in record["remedies"]}
    assert all(seconds >= 0 for seconds in spent.values())
    assert spent["keep"] > spent["prior"] and spent["refresh"] > spent["refresh+prior"]  # passes over the images
    assert sum(spent.values()) <= record["cpu_seconds"]["adaptation"]


def test_a_block_is_trained_behind_the_label_map_though_a_solved_head_needs_none(large):
    x, y, _ = device(300, corruption="contrast", label_map="flip")
    remedies = tbft.personalize("digits", x, y).record.as_dict["remedies"]
    raced = [step for step in remedies if "race" in step["reason"]]
    assert raced and all(step["accuracy"]["value"] > 0.5 for step in raced)


def test_where_aligning_is_refused_what_stood_before_it_stands(monkeypatch):
    x, y, _ = device(500, corruption="snow")
    ways = {
        "is not tried": ("Climb.is_worth_aligning", lambda *args: False),
        "diverges": ("align", lambda *args: False),
        "is worse": ("judge_aligned", lambda *args: (False, "worse")),
    }
    found = []
    for name, stand_in in ways.values():
        with monkeypatch.context() as patch:
            patch.setattr(f"tbft.adaptation.climb.{name}", stand_in)
            better = tbft.personalize("digits", x, y, **{"ladder.train": False})
        assert better.record.as_dict["diagnosis"]["images"] == 200 and "refresh" in accepted(better)
        found.append(better.model.state_dict())
    assert all(torch.equal(value, other[key]) for other in found for key, value in found[0].items())
