"""A climb can say afterwards what each combination would have brought, and it costs the adaptation nothing."""

import pytest

import tbft
from tbft.adaptation.hindsight import accuracies_of_combinations
from tbft.data.digits import Digits
from tbft.errors import BadInput
from tbft.models.classifier import PlainClassifier

DRIFT = ("--data.corruption", "contrast", "--data.label_map", "flip", "--data.train_size", "100")


def without_time(steps):
    return [{k: v for k, v in step.items() if k not in ("test", "cpu_seconds")} for step in steps]


def test_each_combination_is_tested_and_the_adaptation_is_the_same(run):
    _, plain = run("fit", "--config", "auto.yaml", *DRIFT, "--ladder.train", "false", name="plain")
    code, record = run(
        "fit", "--config", "auto.yaml", *DRIFT, "--ladder.train", "false", "--ladder.hindsight", "true", name="tested"
    )
    tested = {tuple(step["remedies"]): step["test"] for step in record["remedies"] if "test" in step}
    assert code == 0 and len(tested) >= 12
    assert tested["keep",] == pytest.approx(record["accuracy"]["base"], abs=0.005)
    assert tested["refresh", "relabel"] > 0.6 > tested["refresh",]
    assert record["accuracy"] == plain["accuracy"]
    assert without_time(record["remedies"]) == without_time(plain["remedies"])
    assert not any("test" in step for step in record["remedies"] if "align" in step["remedies"])


def test_without_labels_the_combinations_that_need_none_are_tested(run):
    args = (*DRIFT[:2], "--data.train_size", "100", "--data.labelled", "false", "--ladder.hindsight", "true")
    code, record = run("fit", "--config", "auto.yaml", *args)
    tested = {step["remedies"][-1]: step["test"] for step in record["remedies"] if "test" in step}
    assert code == 0 and set(tested) == {"keep", "refresh", "prior"} and tested["refresh"] > tested["keep"] + 0.2


def test_of_labels_that_tell_nothing_only_what_needs_none_is_tested():
    data, classifier = Digits(image_size=16, train_size=50, test_size=50), PlainClassifier()
    data.setup()
    classifier.load("digits")
    data.train.y[:] = 3
    found = accuracies_of_combinations(classifier, data.train, data.test, classifier.base.card, labelled=True, seed=0)
    assert set(found) == {("keep",), ("prior",), ("refresh",), ("refresh", "prior")}


def test_hindsight_without_test_images_or_without_a_climb_is_refused(run, capsys):
    asked = ("--ladder.hindsight", "true")
    assert run("fit", "--config", "auto.yaml", *asked, "--data.test_size", "0")[0] == 2
    assert "no image to test on" in capsys.readouterr().err
    assert run("fit", "--config", "auto.yaml", *asked, "--run.test", "false")[0] == 2
    assert "run.test is off" in capsys.readouterr().err
    assert run("fit", "--config", "output.yaml", *asked)[0] == 2
    assert "ladder.hindsight are for ladder.climb" in capsys.readouterr().err
    data = Digits(image_size=16, train_size=50)
    data.setup()
    with pytest.raises(BadInput, match="no image to test on"):
        tbft.personalize("digits", data.train.x, data.train.y, **{"ladder.hindsight": True})
