"""What drifted, how sure, and what to do: simulated drifts far from every threshold."""

import json

import numpy as np
import pytest
from simulated_drift import CLASSES, HEAD, LONG_TAIL, Drift, accuracy, draw, source_card, unlabelled

from tbft.diagnosis import diagnose
from tbft.remedies import Sample, SourceCard
from tbft.remedies.label_free import calibrated_to, estimate_accuracy, threshold_accuracy

CARD = source_card()
FLIP = tuple(range(CLASSES))[::-1]


@pytest.mark.parametrize(
    ("drift", "levels"),
    [
        (Drift(), set()),
        (Drift(sensed=True), {"input"}),
        (Drift(new_label=FLIP), {"output"}),
        (Drift(prior=tuple(LONG_TAIL)), {"prior"}),
        (Drift(moved=2.5), {"feature"}),
        (Drift(sensed=True, new_label=FLIP), {"input", "output"}),
        (Drift(sensed=True, prior=tuple(LONG_TAIL)), {"input", "prior"}),
    ],
)
def test_the_levels_that_drifted_are_named(drift, levels):
    assert set(diagnose(draw(300, 1, drift), HEAD, CARD).levels) == levels


def test_noisy_labels_are_no_drift():
    diagnosis = diagnose(draw(300, 1, Drift(noise=0.4)), HEAD, CARD)
    assert diagnosis.levels == () and any("check the labels" in sentence for sentence in diagnosis.advice)


def test_levels_are_named_without_a_card_where_a_remedy_shows_them():
    assert set(diagnose(draw(300, 1, Drift(sensed=True, new_label=FLIP)), HEAD).levels) == {"input", "output"}


def test_a_map_that_hangs_on_single_images_asks_for_labels():
    whole = draw(120, 4, Drift(new_label=(3, 2, 1, 0, 5, 4)))["source"]
    labels = whole.labels
    # Of the last two classes, which are swapped, two images of one and none of the other.
    kept = np.sort(np.concatenate([np.flatnonzero(labels < 4), np.flatnonzero(labels == 5)[:2]]))
    few = Sample(whole.features[kept], whole.logits[kept], labels[kept])
    for sample, hangs in ((few, True), (whole, False)):
        advice = diagnose({"source": sample}, HEAD, CARD).advice
        assert any("the label map hangs on" in sentence for sentence in advice) is hangs


def test_what_is_left_is_offered_to_training():
    blind = SourceCard(accuracy=0.99, images=2000)
    diagnosis = diagnose(draw(300, 2, Drift(sensed=True, noise=0.2)), HEAD, blind)
    assert diagnosis.choice.left is not None and diagnosis.choice.left.low > 0.1
    assert any("training a block may pay" in sentence for sentence in diagnosis.advice)
    assert not any("training" in sentence for sentence in diagnose(draw(300, 2), HEAD, CARD).advice)


def test_accuracy_is_estimated_without_labels():
    for drift, least in ((Drift(), 0.03), (Drift(sensed=True), 0.1)):
        diagnosis = diagnose(unlabelled(draw(1000, 3, drift)), HEAD, CARD)
        truth = accuracy("source", HEAD, drift)
        assert diagnosis.accuracy is not None and abs(diagnosis.accuracy.value - truth) < least
        assert diagnosis.accuracy.low <= truth <= diagnosis.accuracy.high


def test_on_the_source_as_many_are_above_the_threshold_as_are_right():
    sample = draw(2000, 99)["source"]
    assert threshold_accuracy(sample, CARD).value == pytest.approx(CARD.accuracy, abs=0.002)


def test_probabilities_are_calibrated_to_an_accuracy():
    logits = draw(200, 5, Drift(sensed=True))["source"].logits
    assert calibrated_to(logits, 0.6).max(axis=1).mean() == pytest.approx(0.6, abs=1e-6)


def test_the_refreshed_model_judges_one_that_has_lost_confidence():
    samples = unlabelled(draw(1000, 6, Drift(sensed=True)))
    truth = accuracy("source", HEAD, Drift(sensed=True))
    alone, both = estimate_accuracy({"source": samples["source"]}, CARD), estimate_accuracy(samples, CARD)
    assert both.value <= alone.value and abs(both.value - truth) < 0.1


def test_a_lost_model_that_nothing_brings_back_asks_for_labels():
    diagnosis = diagnose(unlabelled(draw(300, 7, Drift(moved=3.0))), HEAD, CARD)
    assert diagnosis.levels == () and diagnosis.verdict == "keep"
    assert any(sentence.startswith("collect 30 labels") for sentence in diagnosis.advice)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_diagnosis_can_be_written_and_read(labelled):
    samples = draw(100, 8, Drift(sensed=True))
    diagnosis = diagnose(samples if labelled else unlabelled(samples), HEAD, CARD)
    written = json.loads(json.dumps(diagnosis.as_dict(), allow_nan=False))
    assert written["levels"] == ["input"] and written["labelled"] is labelled and written["images"] == 100
    assert written["chosen"]["remedies"] == list(diagnosis.choice.remedies)
    assert [step["accepted"] for step in written["remedies"]] == [step.accepted for step in diagnosis.choice.steps]
    table = diagnosis.table()
    assert "drift     input" in table and "refresh" in table and max(map(len, table.splitlines())) <= 140


def test_a_sample_that_tells_nothing_is_diagnosed_as_that():
    samples = draw(100, 9, Drift(noise=1.0))
    diagnosis = diagnose(samples, HEAD, CARD)
    assert diagnosis.verdict == "cannot tell" and diagnosis.levels == ()
    assert "cannot tell" in diagnosis.table() and "training" not in " ".join(diagnosis.advice)
