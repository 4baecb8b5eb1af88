"""A changed class prior, wrong labels and no labels are drifts of the data, alone and beside others."""

import numpy as np
import pytest
import torch

import tbft
from tbft.data.digits import Digits
from tbft.data.folder import Folder
from tbft.data.imbalance import long_tail
from tbft.data.label_noise import wrong_labels
from tbft.errors import BadInput


def opened(**options):
    data = Digits(image_size=16, **{"train_size": 100, "test_size": 200, **options})
    data.setup()
    return data


def sample_of(data):
    return torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])


def test_the_last_class_becomes_rarer_by_the_factor_and_those_between_exponentially():
    labels = np.tile(np.arange(5), 1000)
    kept = long_tail(labels, 5, imbalance=16, seed=0)
    assert np.bincount(labels[kept]).tolist() == [1000, 500, 250, 125, 62] and (np.diff(kept) > 0).all()
    assert not np.array_equal(kept, long_tail(labels, 5, imbalance=16, seed=1))
    assert np.bincount(labels[:25][long_tail(labels[:25], 5, 1000, seed=0)]).tolist() == [5, 1, 1, 1, 1]


def test_sample_and_test_images_have_the_same_long_tail():
    data = opened(imbalance=10)
    assert (len(sample_of(data)[1]), len(data.test)) == (100, 200)
    shares = 10.0 ** (-np.arange(10) / 9)
    for labels, images in ((sample_of(data)[1], 100), (data.test.y, 200)):
        counted = np.bincount(labels.numpy(), minlength=10)
        assert np.abs(counted - images * shares / shares.sum()).max() <= 5  # the digits' own classes differ too
    assert (data.drift.name, data.drift.level, data.drift.levels) == ("prior", None, ("prior",))


def test_the_prior_is_one_of_the_pictures_whatever_happens_to_them_and_their_labels():
    plain, mixed = opened(imbalance=10), opened(imbalance=10, label_map="flip", corruption="contrast")
    assert torch.equal(9 - sample_of(plain)[1], sample_of(mixed)[1]) and torch.equal(9 - plain.test.y, mixed.test.y)
    assert not torch.equal(plain.test.x, mixed.test.x)
    assert (mixed.drift.name, mixed.drift.levels) == ("contrast+flip+prior", ("input", "output", "prior"))


def test_labels_are_wrong_in_the_sample_and_never_in_the_test_images():
    right, wrong = opened(label_map="flip"), opened(label_map="flip", label_noise=0.2)
    assert int((sample_of(right)[1] != sample_of(wrong)[1]).sum()) == 20
    assert torch.equal(right.test.y, wrong.test.y) and torch.equal(right.train.x, wrong.train.x)
    assert (wrong.drift.name, wrong.drift.level) == ("flip+label_noise", "output")
    every = wrong_labels(torch.arange(3), 3, share=1.0, seed=0)
    assert not (every == torch.arange(3)).any() and every.max() < 3


def test_a_folder_of_ones_own_may_have_drifted_in_more_than_what_the_options_say(tmp_path):
    assert Folder(str(tmp_path), corruption="fog").drift.levels is None
    assert opened().drift.levels == () and opened(task="superclasses").drift.levels == ("feature",)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"imbalance": 0.5}, "data.imbalance is 0.5"),
        ({"label_noise": 1.5}, "data.label_noise is 1.5"),
        ({"label_noise": 0.1, "labelled": False}, "leave one out"),
        ({"domain": "source", "imbalance": 10}, "of the target domain"),
        ({"domain": "source", "labelled": False}, "of the target domain"),
    ],
)
def test_what_makes_no_sense_is_refused(options, says):
    with pytest.raises(BadInput, match=says):
        Digits(**options)


def test_without_labels_nothing_validates_and_nothing_can_look_at_them():
    data, labelled = opened(labelled=False), opened()
    assert len(data.train) == 100 and not len(data.val) and not data.train.y.any()
    assert torch.equal(data.test.y, labelled.test.y)


def test_the_command_without_labels_is_personalize_without_labels(run, capsys):
    drift = ("--data.corruption", "contrast", "--data.train_size", "100", "--data.test_size", "50")
    code, record = run("fit", "--config", "auto.yaml", *drift, "--data.labelled", "false")
    assert code == 0 and record["diagnosis"]["labelled"] is False and record["kept"] == "adapted"
    same = tbft.personalize("digits", opened(labelled=False, corruption="contrast", test_size=50).train.x)
    left = tbft.load("runs/run/model.safetensors").model.state_dict()
    assert all(torch.equal(value, left[key]) for key, value in same.model.state_dict().items())
    assert run("fit", "--config", "input.yaml", "--data.labelled", "false")[0] == 2
    assert "only ladder.climb adapts without labels" in capsys.readouterr().err


def test_the_record_says_all_that_drifted(run):
    drift = ("--data.label_map", "flip", "--data.imbalance", "10", "--data.train_size", "100")
    code, record = run("fit", "--config", "auto.yaml", *drift)
    assert code == 0 and record["drift"]["name"] == "flip+prior"
    assert record["drift"]["levels"] == ["output", "prior"] and record["drift"]["level"] is None


def test_what_looks_on_honours_that_there_are_no_labels(run, capsys):
    assert run("diagnose", "--config", "auto.yaml", "--data.train_size", "60", "--data.labelled", "false")[0] == 0
    assert "60 unlabelled images" in capsys.readouterr().out
    args = ("--model.base", "digits", "--data", "Digits", "--data.labelled", "false", "--to", "x.safetensors")
    assert run("card", *args)[0] == 2
    assert "data.labelled is false" in capsys.readouterr().err
